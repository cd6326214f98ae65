"""The stage in a store: two phases through the real worker process, its failures, and what it publishes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from infra.context import Context
from infra.stage import Outcome, Parameters, Stage, StageError
from infra.store import Artifact, Shard
from tasks.training.run import require_positions
from tasks.training.stage import STAGE
from tests.stage_harness import data_digests, run_stage
from tests.tasks.training.toys import LENGTH, parameters, save_bins, save_model


class FolderParameters(Parameters):
    """Publishes a local folder; stands for an earlier stage."""

    folder: str


def publish(context: Context) -> Outcome:
    """Publish the folder."""

    def copy(folder: str, shard: Shard) -> dict[str, Any]:
        shard.publish(Path(folder))
        return {}

    context.map(copy, {"all": context.parameters.folder}, here=True)
    return Outcome()


def artifact(tmp_path: Path, folder: Path, name: str) -> Artifact:
    stage = Stage("folder", 1, FolderParameters, "tests.tasks.training.test_stage:publish", "publishes a folder")
    return run_stage(stage, FolderParameters(folder=str(folder)), name=name, tmp_path=tmp_path)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Artifact, tuple[Artifact, ...]]]:
    root = tmp_path_factory.mktemp("store")
    save_model(root / "model/checkpoint")
    save_bins(root / "bins", {"a": [10, 8], "b": [12, 9]})
    bins = tuple(artifact(root, root / "bins" / name, name) for name in ("a", "b"))
    yield root, artifact(root, root / "model", "main"), bins


Inputs = tuple[Path, Artifact, tuple[Artifact, ...]]


def test_two_phases(inputs: Inputs) -> None:
    root, model, bins = inputs
    first = run_stage(
        STAGE,
        parameters(tokens="16 rows", trainable="embeddings"),
        {"previous": model, "bins": bins},
        "one",
        tmp_path=root,
    )
    second = run_stage(STAGE, parameters(tokens="12 rows"), {"previous": first, "bins": bins}, "two", tmp_path=root)
    assert first.files("checkpoint/") and "state/optimizer.safetensors" in first.files()
    assert second.statistics["tokens_total"] == 28 * LENGTH
    assert second.statistics["parameters_trained"] > first.statistics["parameters_trained"]
    metrics = [json.loads(line) for line in (second.records.local("metrics.jsonl")).read_text().splitlines()]
    assert [line["tokens"] for line in metrics] == [20 * LENGTH, 24 * LENGTH, 28 * LENGTH]
    folder = second.folder("checkpoint")
    assert AutoModelForCausalLM.from_pretrained(folder).config.vocab_size == 96
    assert AutoTokenizer.from_pretrained(folder)("w7")["input_ids"] == [7]
    assert len(data_digests(second)) == len(second.files())


def test_failure_tells_the_workers_reason(inputs: Inputs) -> None:
    root, model, bins = inputs
    with pytest.raises(StageError, match=r"training/much failed.*\n.*\n?.*max_epochs is 4"):
        run_stage(STAGE, parameters(tokens="900 rows"), {"previous": model, "bins": bins}, "much", tmp_path=root)
    with pytest.raises(StageError, match="names category 'zh', but there are bins of a, b"):
        run_stage(STAGE, parameters(mixture={"zh": 1.0}), {"previous": model, "bins": bins}, "missing", tmp_path=root)


def test_rows_longer_than_the_model_has_positions_are_refused(tmp_path: Path) -> None:
    config = {"max_position_embeddings": 64}
    (tmp_path / "config.json").write_text(json.dumps(config))
    require_positions(tmp_path, 64)
    with pytest.raises(StageError, match="sequence_length is 65, the model has 64 positions"):
        require_positions(tmp_path, 65)
    (tmp_path / "config.json").write_text(json.dumps(config | {"rope_parameters": {"rope_type": "dynamic"}}))
    require_positions(tmp_path, 65)
