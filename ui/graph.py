"""A saga drawn as what its messages lead to, and an instance's way through it. Pure.

Message handlers do not declare an order, so the edges are the steps that instances really took:
message B was the next thing that happened after message A. Declared types that never came are only
listed. Operator actions are not part of the way; compensations and ends are nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Literal

from msgspec import Struct

from sagas.effects import Compensate
from sagas.instance import FINISHED, Instance
from ui.layout import Drawn, layout

END = "="  # marks the node of an end: "=completed"
UNDO = "-"  # marks the node of a compensation: "-RefundPayment"
NODES_MAX = 60

# The steps among the last transitions of a saga: parameters saga and rows.
FOLLOWS = """
WITH recent AS (
  SELECT key, version, cause_type, status FROM transitions
  WHERE saga = $saga AND cause_kind <> 'operator' ORDER BY seq DESC LIMIT $rows
), steps AS (
  SELECT cause_type AS start, CASE
    WHEN status IN ('completed', 'failed', 'compensated', 'cancelled') THEN '=' || status
    ELSE lead(cause_type) OVER (PARTITION BY key ORDER BY version) END AS stop
  FROM recent
)
SELECT start, stop, count(*)::BIGINT AS count FROM steps WHERE stop IS NOT NULL
GROUP BY ALL ORDER BY count DESC, start, stop
"""


_KINDS: dict[str, Literal["message", "undo", "end"]] = {END: "end", UNDO: "undo"}


class Follow(Struct, frozen=True):
    """How often ``stop`` came right after ``start``."""

    start: str
    stop: str
    count: int


class Node(Struct, frozen=True):
    """A box: ``tone`` is a status for ends, the state of the undo for compensations (undoing,
    undone, failed), else taken, here or empty; ``standing`` counts the instances whose last message
    this is.
    """

    label: str
    x: float
    y: float
    tone: str
    kind: Literal["message", "undo", "end"]
    standing: int


class Link(Struct, frozen=True):
    """An arrow; ``taken`` when the instance went this way, ``weight`` its share of the steps."""

    drawn: Drawn
    count: int
    taken: bool
    weight: float


class Graph(Struct, frozen=True):
    """The whole picture; ``unseen`` are declared types that have not come yet."""

    width: float
    height: float
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    unseen: tuple[str, ...]


def graph(
    types: Sequence[str],
    follows: Iterable[Follow],
    standing: Mapping[str, int],
    history: Sequence[Instance] = (),
    upto: int | None = None,
) -> Graph:
    """Draw a saga's declared ``types`` and its ``follows``; with a ``history`` the way taken, as it
    was after ``upto`` of its versions (None: all). Where things are drawn does not depend on that.
    """
    whole = _way(history)
    history = history[:upto]
    way = _way(history)
    taken = dict.fromkeys(pairwise(way))
    counts = {(f.start, f.stop): f.count for f in follows}
    for step in pairwise(whole):  # in order, so that the drawing is always the same
        counts.setdefault(step, 1)
    met = dict.fromkeys([*whole, *(name for step in counts for name in step)])
    names = list(dict.fromkeys([*(t for t in types if t in met), *met]))[:NODES_MAX]
    drawing = layout(names, counts)
    most = max(counts.values(), default=1)
    nodes = tuple(
        Node(
            label=placed.id.lstrip(END + UNDO),
            x=placed.x,
            y=placed.y,
            tone=_tone(placed.id, way, history),
            kind=_KINDS.get(placed.id[:1], "message"),
            standing=standing.get(placed.id, 0),
        )
        for placed in drawing.nodes
    )
    links = tuple(
        Link(drawn, count, (drawn.start, drawn.end) in taken, count / most)
        for drawn in drawing.edges
        for count in (counts[(drawn.start, drawn.end)],)
    )
    unseen = tuple(type for type in types if type not in met)
    return Graph(drawing.width, drawing.height, nodes, links, unseen)


def _way(history: Sequence[Instance]) -> list[str]:
    """The nodes an instance passed, in order; where an operator acted it goes on as before."""
    way: list[str] = []
    for one in history:
        if one.cause.kind != "operator" and one.cause.type:
            way.append(one.cause.type)
        way += [UNDO + effect.type for effect in one.effects if isinstance(effect, Compensate)]
    if history and history[-1].status in FINISHED:
        way.append(END + history[-1].status)
    return way


def _tone(node: str, way: Sequence[str], history: Sequence[Instance]) -> str:
    if node.startswith(END):
        return node.removeprefix(END) if not history or node in way else ""
    if node not in way:
        return ""
    if node.startswith(UNDO):
        undo = next((u for u in history[-1].undo if u.type == node.removeprefix(UNDO)), None)
        status = undo.status if undo else "done"
        return {"running": "undoing", "failed": "failed"}.get(status, "undone")
    return "here" if node == way[-1] else "taken"
