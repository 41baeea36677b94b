"""The layered drawing: what must hold for every graph, and how small ones look."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from ui.layout import GAP_X, NODE_HEIGHT, NODE_WIDTH, layout

names = st.lists(
    st.text("abcdefghij", min_size=1, max_size=3), min_size=1, max_size=14, unique=True
)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[str], list[tuple[str, str]]]:
    nodes = draw(names)
    one = st.sampled_from(nodes)
    return nodes, draw(st.lists(st.tuples(one, one), max_size=30))


@given(graphs())
def test_boxes_never_overlap_and_every_edge_is_drawn(
    graph: tuple[list[str], list[tuple[str, str]]],
) -> None:
    nodes, edges = graph
    drawing = layout(nodes, edges)
    assert [node.id for node in drawing.nodes] == nodes
    for a, b in combinations(drawing.nodes, 2):
        assert abs(a.x - b.x) >= NODE_WIDTH + GAP_X - 0.01 or abs(a.y - b.y) >= NODE_HEIGHT
    for node in drawing.nodes:
        assert 0 <= node.x <= drawing.width - NODE_WIDTH
        assert 0 <= node.y <= drawing.height - NODE_HEIGHT
    assert {(e.start, e.end) for e in drawing.edges} == {e for e in edges if e[0] != e[1]}


@given(graphs())
def test_edges_lead_down_unless_they_close_a_cycle(
    graph: tuple[list[str], list[tuple[str, str]]],
) -> None:
    drawing = layout(*graph)
    y = {node.id: node.y for node in drawing.nodes}
    for edge in drawing.edges:
        assert (y[edge.start] > y[edge.end]) == edge.backward


def test_a_chain_is_a_column_and_a_choice_lies_side_by_side() -> None:
    chain = layout(["a", "b", "c"], [("a", "b"), ("b", "c")])
    assert len({node.x for node in chain.nodes}) == 1
    choice = layout(["a", "b", "c"], [("a", "b"), ("a", "c")])
    assert choice.nodes[1].y == choice.nodes[2].y
    assert choice.nodes[1].x < choice.nodes[0].x < choice.nodes[2].x


def test_a_long_edge_goes_round_what_lies_between() -> None:
    drawing = layout(["a", "b", "c"], [("a", "b"), ("b", "c"), ("a", "c")])
    long = next(edge for edge in drawing.edges if (edge.start, edge.end) == ("a", "c"))
    assert long.path.count("C") == 3
    assert not drawing.nodes[1].x < long.x < drawing.nodes[1].x + NODE_WIDTH


def test_nothing_to_draw() -> None:
    assert layout([], []).nodes == ()
