"""A layered drawing of a directed graph: layers from top to bottom, few crossings. Pure.

The four steps of Sugiyama, Tagawa and Toda (1981), each in its simplest form, which is enough for
the sizes sagas have (under 60 nodes): edges that close a cycle are turned round, nodes are layered
by their longest way from a start, long edges get waypoints, and layers are ordered by the mean
place of their neighbours. Same input, same drawing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from msgspec import Struct

NODE_WIDTH, NODE_HEIGHT = 168, 40
GAP_X, GAP_Y, MARGIN = 28, 46, 12
SWEEPS = 6

Edge = tuple[str, str]
Layers = list[list[str]]


class Placed(Struct, frozen=True):
    """A node with the upper left corner of its box, in pixels."""

    id: str
    x: float
    y: float


class Drawn(Struct, frozen=True):
    """An edge as the ``d`` of an SVG path, with the place for its label."""

    start: str
    end: str
    path: str
    x: float
    y: float
    backward: bool = False


class Drawing(Struct, frozen=True):
    """Where everything is, and the size of the whole."""

    width: float
    height: float
    nodes: tuple[Placed, ...]
    edges: tuple[Drawn, ...]


def layout(nodes: Sequence[str], edges: Iterable[Edge]) -> Drawing:
    """Place ``nodes`` (in the order they should be tried) and route ``edges`` between them.

    Edges from a node to itself and to unknown nodes are left out.
    """
    known = set(nodes)
    wanted = [e for e in dict.fromkeys(edges) if e[0] != e[1] and {e[0], e[1]} <= known]
    turned = _cycle_edges(nodes, wanted)
    forward = [(b, a) if (a, b) in turned else (a, b) for a, b in wanted]
    layer = _layers(nodes, forward)
    chains = {edge: _chain(edge, layer) for edge in forward}
    rows = _ordered(nodes, layer, list(chains.values()))
    places, width = _coordinates(rows)
    drawn = tuple(
        _draw(
            edge,
            chains[(edge[1], edge[0])] if edge in turned else chains[edge],
            places,
            edge in turned,
        )
        for edge in wanted
    )
    height = MARGIN * 2 + len(rows) * NODE_HEIGHT + max(0, len(rows) - 1) * GAP_Y
    placed = tuple(Placed(node, *places[node]) for node in nodes)
    return Drawing(width, height, placed, drawn)


def _cycle_edges(nodes: Sequence[str], edges: Sequence[Edge]) -> set[Edge]:
    """Edges that lead back to a node still being visited, by depth-first search."""
    after: dict[str, list[str]] = {node: [] for node in nodes}
    for a, b in edges:
        after[a].append(b)
    open_, done, back = set[str](), set[str](), set[Edge]()
    for root in nodes:
        stack: list[tuple[str, int]] = [(root, 0)] if root not in done else []
        open_.update({root} if stack else ())
        while stack:
            node, at = stack.pop()
            if at == len(after[node]):
                open_.discard(node)
                done.add(node)
                continue
            stack.append((node, at + 1))
            child = after[node][at]
            if child in open_:
                back.add((node, child))
            elif child not in done:
                open_.add(child)
                stack.append((child, 0))
    return back


def _layers(nodes: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """The longest way to each node from one without predecessors; ``edges`` have no cycle."""
    layer = dict.fromkeys(nodes, 0)
    for _ in nodes:
        moved = False
        for a, b in edges:
            if layer[b] < layer[a] + 1:
                layer[b] = layer[a] + 1
                moved = True
        if not moved:
            break
    return layer


def _chain(edge: Edge, layer: Mapping[str, int]) -> list[str]:
    """The edge's ends with a waypoint in each layer between; waypoints start with a NUL."""
    a, b = edge
    between = range(layer[a] + 1, layer[b])
    return [a, *(f"\0{a}\0{b}\0{row}" for row in between), b]


def _ordered(nodes: Sequence[str], layer: Mapping[str, int], chains: Sequence[list[str]]) -> Layers:
    rows: Layers = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for node in nodes:
        rows[layer[node]].append(node)
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for chain in chains:
        start = layer[chain[0]]
        for offset, node in enumerate(chain[1:-1], 1):
            rows[start + offset].append(node)
        for a, b in pairwise(chain):
            below.setdefault(a, []).append(b)
            above.setdefault(b, []).append(a)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        order = range(1, len(rows)) if down else range(len(rows) - 2, -1, -1)
        for row in order:
            neighbours = above if down else below
            place = {node: at for at, node in enumerate(rows[row - 1 if down else row + 1])}
            rows[row] = _by_mean(rows[row], neighbours, place)
    return rows


def _by_mean(
    row: list[str], neighbours: Mapping[str, list[str]], place: Mapping[str, int]
) -> list[str]:
    def mean(at: int, node: str) -> float:
        near = [place[n] for n in neighbours.get(node, ()) if n in place]
        return sum(near) / len(near) if near else float(at)

    keyed = [(mean(at, node), at, node) for at, node in enumerate(row)]
    return [node for _, _, node in sorted(keyed)]


def _coordinates(rows: Layers) -> tuple[dict[str, tuple[float, float]], float]:
    """Corners by node, waypoints narrow; each row is centred. And the width of the whole."""
    widths = [[NODE_WIDTH if not node.startswith("\0") else GAP_X for node in row] for row in rows]
    totals = [sum(row) + GAP_X * max(0, len(row) - 1) for row in widths]
    width = max(totals, default=0) + MARGIN * 2
    places: dict[str, tuple[float, float]] = {}
    for index, (row, sizes) in enumerate(zip(rows, widths, strict=True)):
        x = (width - totals[index]) / 2
        y = MARGIN + index * (NODE_HEIGHT + GAP_Y)
        for node, size in zip(row, sizes, strict=True):
            places[node] = (x + (size - NODE_WIDTH) / 2, y)
            x += size + GAP_X
    return places, width


def _draw(
    edge: Edge, chain: list[str], places: Mapping[str, tuple[float, float]], backward: bool
) -> Drawn:
    points: list[tuple[float, float]] = []
    for at, node in enumerate(chain):
        x, y = places[node]
        centre = x + NODE_WIDTH / 2
        if at > 0:
            points.append((centre, y))
        if at < len(chain) - 1:
            points.append((centre, y + NODE_HEIGHT))
    if backward:
        points.reverse()
    path = f"M{points[0][0]:g} {points[0][1]:g}"
    for (x0, y0), (x1, y1) in pairwise(points):
        bend = (y1 - y0) / 2
        path += f"C{x0:g} {y0 + bend:g} {x1:g} {y1 - bend:g} {x1:g} {y1:g}"
    middle = points[len(points) // 2 - 1], points[len(points) // 2]
    x = (middle[0][0] + middle[1][0]) / 2
    return Drawn(*edge, path, x, (middle[0][1] + middle[1][1]) / 2, backward)
