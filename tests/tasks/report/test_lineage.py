"""The drawing of what was made from what."""

from __future__ import annotations

from pathlib import Path

from tasks.report.lineage import (
    Key,
    depths,
    drawing,
    edges_of,
    layers_of,
    ordered,
    with_waypoints,
    without_shortcuts,
)
from tests.tasks.report.made import made


def edges(**found: str) -> dict[Key, frozenset[Key]]:
    """`b="a c"`: b was made from a and c."""
    return {
        Key(name, ""): frozenset(Key(one, "") for one in sources.split())
        for name, sources in found.items()
    }


CHAIN = edges(ingest="", langid="ingest", cut="ingest langid", base="", model="cut base")


def test_boxes_stand_below_what_they_were_made_from() -> None:
    assert depths(CHAIN)[Key("model", "")] == 3
    layers = [[key.stage for key in layer] for layer in layers_of(CHAIN)]
    assert layers == [["ingest"], ["langid"], ["cut", "base"], ["model"]]


def test_an_edge_that_a_longer_path_implies_is_not_drawn() -> None:
    assert without_shortcuts(CHAIN)[Key("cut", "")] == {Key("langid", "")}


def test_a_long_edge_passes_through_every_layer() -> None:
    found = edges(ingest="", langid="ingest", cut="langid", select="cut ingest")
    layers, direct = with_waypoints(layers_of(found), found)
    place = {key: number for number, layer in enumerate(layers) for key in layer}
    assert all(
        place[key] - place[source] == 1 for key, sources in direct.items() for source in sources
    )
    assert sum(not key.stage for key in place) == 2


def test_boxes_are_sorted_so_that_curves_do_not_cross() -> None:
    found = edges(a="", b="", x="b", y="a")
    layers = ordered([[Key("a", ""), Key("b", "")], [Key("x", ""), Key("y", "")]], found)
    first, second = ([key.stage for key in layer] for layer in layers)
    assert [{"x": "b", "y": "a"}[name] for name in second] == first


def test_many_artifacts_of_other_runs_are_one_box(tmp_path: Path) -> None:
    earlier = [made("select", {}, {}, tmp_path, name=f"crawl-{n}") for n in range(5)]
    few = made("dedup", {}, {}, tmp_path, inputs={"history": earlier[:2]})
    many = made("dedup", {}, {}, tmp_path, inputs={"history": earlier})
    assert {key.name for key in edges_of([few]) if key.outside} == {"crawl-0", "crawl-1"}
    assert [key for key in edges_of([many]) if key.outside] == [Key("history", "5 artifacts", True)]
    drawn = drawing([many])
    assert drawn is not None and len(drawn.boxes) == 2 and len(drawn.curves) == 1


def test_boxes_of_many_that_follow_each_other_end() -> None:
    found = edges(a="b", b="a")
    assert set(depths(found)) == set(found)
    assert layers_of(found) and without_shortcuts(found)
