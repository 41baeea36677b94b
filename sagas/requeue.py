"""Steps that an engine had begun itself and did not end: they go to the queue of the workers.

The broker counts deliveries from a queue, so a step that takes its process down with it is given up
after a while. Begun by engine after engine it would take them all down, for ever.
"""

from __future__ import annotations

from sagas.decision import Decision, Ignored, Snapshot, commit
from sagas.draft import Draft
from sagas.instance import VALUE_BYTES_MAX, Failure, Instance, OpenCommand, Parked

REQUEUE = "Snorri-Requeue"


def inline_commands(instance: Instance) -> list[tuple[str, OpenCommand]]:
    """The commands that no message stands for and that have no answer yet, with their ids.

    One that failed for good stays open for an operator; the answer of another may wait in the
    backlog.
    """
    if not instance.commands:
        return []
    answered = {cause.answers for cause in instance.backlog}
    if instance.parked is not None:
        answered.add(instance.parked.command)
    return [
        (id, command)
        for id, command in instance.commands.items()
        if command.inline and id not in answered
    ]


def requeue(draft: Draft, snapshot: Snapshot) -> Decision:
    """Send what was begun; parks when that makes the document too large."""
    begun = inline_commands(snapshot.instance) if snapshot.instance else []
    if not begun:
        return Ignored("moot", "no engine has begun a step of it")
    for id, _ in begun:
        draft.resend(id, inline=False)
    transition = commit(draft, snapshot)
    if len(transition.document) <= VALUE_BYTES_MAX or draft.status == "parked":
        return transition
    return park_too_large(draft, snapshot, begun[0][0])


def park_too_large(draft: Draft, snapshot: Snapshot, id: str) -> Decision:
    """Park the instance as it was, with the command whose effect does not fit into its document."""
    held = Draft(draft.definition, snapshot.key, snapshot.instance, draft.cause, draft.now)
    target = draft.commands[id].target
    text = f"the command to {target!r} makes the document too large; make the state smaller"
    held.park(
        Failure(type="LimitExceeded", message=f"{text}, then retry"),
        Parked(command=id, status=held.status, error=held.error),
    )
    return commit(held, snapshot)
