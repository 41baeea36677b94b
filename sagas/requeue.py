"""Steps that an engine was to carry out itself, sent to the workers after all: whoever holds the
instance now does not have their code.
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
    """Send what is inline and can't be carried out here; parks when that makes the document too
    large.
    """
    inline = snapshot.instance and inline_commands(snapshot.instance)
    strange = [id for id, command in inline or () if command.target not in draft.definition.inline]
    if not strange:
        return Ignored("moot", "none of its steps has to go to another place")
    for id in strange:
        draft.resend(id)
    transition = commit(draft, snapshot)
    if len(transition.document) <= VALUE_BYTES_MAX or draft.status == "parked":
        return transition
    return park_too_large(draft, snapshot, strange[0])


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
