"""Proxies of a search share a row of a table."""

from __future__ import annotations

from typing import Any

from flows.monitoring.stage_rows import together


def row(name: str, result: str = "built", **more: Any) -> dict[str, Any]:
    return {"stage": "training", "name": name, "result": result, "version": "1f", **more}


def test_proxies_of_a_stage_search_and_result_share_a_row() -> None:
    rows = together(
        [
            row("align"),
            row("proxy~main~0-00", seconds=2.0),
            row("proxy~next~0-00"),
            row("proxy~main~0-01", seconds=3.0),
            row("proxy~main~0-02", "hit"),
        ]
    )
    assert [(r["name"], r["count"]) for r in rows] == [
        ("align", 1),
        ("proxy~main~*", 2),
        ("proxy~next~0-00", 1),
        ("proxy~main~0-02", 1),
    ]
    assert rows[1]["seconds"] == 5.0 and rows[1]["version"] == ""
