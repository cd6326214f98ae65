"""Bins of each row length: their nodes, names and versions."""

from __future__ import annotations

from typing import Any

import pytest

from flows.planning.graph import Graph
from flows.planning.refusals import refuse_by_config
from flows.planning.wiring import stages
from flows.recipe.file import RecipeError
from flows.recipe.sections import Recipe

SOURCES = {
    name: {"ingest": {"format": "jsonl", "paths": [f"{name}.jsonl"]}, "category": name}
    for name in ("zh", "en", "unused")
}


def graph(*phases: dict[str, Any], schedule: dict[str, Any] | None = None) -> Graph:
    return stages(
        Recipe.model_validate(
            {
                "name": "r",
                "sources": SOURCES,
                "tokenizer": {"base": "b"},
                "model": {"base": "b"},
                "binning": {"sequence_length": 64},
                "training": {
                    "batch": "8 rows",
                    "schedule": {"total": "1M"} if schedule is None else schedule,
                    "phases": [
                        {"name": f"p{number}", "tokens": "4K", **phase}
                        for number, phase in enumerate(phases)
                    ],
                },
            }
        )
    )


def bins(found: Graph, phase: str) -> tuple[object, ...]:
    return found.nodes[f"training/{phase}"].inputs["bins"]


def test_documents_are_binned_once_for_each_length() -> None:
    both, only_en = {"mixture": {"zh": 0.5, "en": "rest"}}, {"mixture": {"buckets": ["en"]}}
    found = graph(both, both | {"sequence_length": 256}, only_en | {"sequence_length": 256}, both)
    binned = [id for id in found.nodes if id.startswith("binning/")]
    assert binned == ["binning/zh", "binning/zh~256", "binning/en", "binning/en~256"]
    assert bins(found, "p0") == bins(found, "p3") == ("binning/zh", "binning/en")
    assert bins(found, "p1") == ("binning/zh~256", "binning/en~256")
    assert bins(found, "p2") == ("binning/en~256",)
    for id in binned:
        node = found.nodes[id]
        assert node.parameters.sequence_length == (256 if id.endswith("~256") else 64)  # type: ignore[attr-defined]
        assert node.inputs["select"] == (f"select/{node.name.partition('~')[0]}",)
    assert found.nodes["training/p1"].parameters.sequence_length == 256  # type: ignore[attr-defined]


def test_another_length_elsewhere_changes_nothing_at_the_default() -> None:
    plain, mixed = graph({}, {}), graph({}, {"sequence_length": 256})
    for id in ("binning/zh", "binning/en", "training/p0"):
        assert plain.nodes[id].inputs == mixed.nodes[id].inputs
        assert plain.nodes[id].parameters.identity() == mixed.nodes[id].parameters.identity()


def test_a_schedule_over_all_phases_says_why_earlier_ones_run_again() -> None:
    assert not graph({}, {}).nodes["training/p0"].remarks  # the total is stated
    spanning = graph({}, {}, schedule={}).nodes["training/p0"].remarks
    assert "training.schedule.total" in spanning["schedule.total"]
    assert not graph({"schedule": {"warmup": 0}}, schedule={}).nodes["training/p0"].remarks


def test_a_length_that_is_the_default_is_the_default() -> None:
    assert list(graph({"sequence_length": 64}).nodes) == list(graph({}).nodes)


def test_a_base_that_another_recipe_made_limits_rows_too() -> None:
    recipe = Recipe.model_validate(
        {
            "name": "r",
            "sources": SOURCES,
            "tokenizer": {"base": "artifact:b/training/p@latest"},
            "model": {"base": "artifact:b/training/p@latest", "layers": {"first": 2}},
            "binning": {"sequence_length": 65},
            "training": {"batch": "8 rows", "phases": [{"name": "p0", "tokens": "4K"}]},
        }
    )
    config = {"max_position_embeddings": 64, "num_hidden_layers": 4}
    with pytest.raises(RecipeError, match=r"binning\.sequence_length: 65 is more than .* 64 posi"):
        refuse_by_config(recipe, config)
    with pytest.raises(RecipeError, match="2"):
        refuse_by_config(recipe, {"max_position_embeddings": 128, "num_hidden_layers": 1})
    refuse_by_config(recipe, {"max_position_embeddings": 65, "num_hidden_layers": 4})
    refuse_by_config(recipe, None)
