"""Where a run's results are, and how to open them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from infra.store import Artifact
from tasks.documents.bins import category_of

MOST_FOLDERS = 6
"""Folders of one kind that are listed."""


def places_of(by_stage: Mapping[str, Sequence[Artifact]]) -> dict[str, Any]:
    """The folders of the last model (`model`, None without one), of each category's bins (`bins`)
    and of each source's selected text (`text`), as paths, or URLs in a store on another machine.
    """
    trained = [*by_stage.get("model", ()), *by_stage.get("training", ())]
    return {
        "model": f"{trained[-1].data.url}/checkpoint" if trained else None,
        "bins": {category_of(one.name): one.data.url for one in by_stage.get("binning", ())},
        "text": {one.name: one.data.url for one in by_stage.get("select", ())},
    }


def in_lines(places: Mapping[str, Any], report: str | None) -> list[str]:
    """The places as lines for a terminal, each after its name."""
    lines = []
    model = places["model"]
    if model:
        lines.append(f"Model   {model}")
        if "://" not in model:
            lines += [
                "          from transformers import AutoModelForCausalLM, AutoTokenizer",
                f"          model = AutoModelForCausalLM.from_pretrained({model!r})",
                f"          tokenizer = AutoTokenizer.from_pretrained({model!r})",
            ]
    for title, kind, inside in (("Bins", "bins", "bin-*"), ("Text", "text", "*/part-*.jsonl")):
        folders = list(places[kind].items())
        for name, folder in folders[:MOST_FOLDERS]:
            lines.append(f"{title:<8}{folder}/{inside}  ({name})")
        if len(folders) > MOST_FOLDERS:
            lines.append(f"{'':<8}and {len(folders) - MOST_FOLDERS} more: --json names all")
    if report:
        lines.append(f"Report  {report}")
    return lines
