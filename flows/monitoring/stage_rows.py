"""Rows of a table of stages: proxies of a mixture search, which are alike, share a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tasks.documents.proposals import is_proxy, proxy_family


def together(stages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows with proxies of the same stage, search and result joined where the first of them stands:
    `name` then ends with `~*`, `count` says how many, and `seconds` is the sum.
    """
    rows: list[dict[str, Any]] = []
    joined: dict[tuple[str, str, str], dict[str, Any]] = {}
    for stage in stages:
        row = {**stage, "count": 1}
        if not is_proxy(row["name"]):
            rows.append(row)
            continue
        key = (row["stage"], proxy_family(row["name"]), row["result"])
        if (first := joined.get(key)) is None:
            joined[key] = row
            rows.append(row)
            continue
        first |= {"name": f"{key[1]}~*", "count": first["count"] + 1, "version": ""}
        if row.get("seconds") is not None:
            first["seconds"] = (first.get("seconds") or 0.0) + row["seconds"]
    return rows
