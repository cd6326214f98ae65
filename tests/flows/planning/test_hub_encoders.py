"""An encoder by its name on the hub: its files, and vectors equal to those of a folder here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from infra.engine import EngineConfig
from tests.end_to_end.direct import run_direct
from tests.loopback.hub_fixture import HubServer, point_at, running_hub
from tests.tasks.embeddings.tiny_encoder import write_encoder

RECIPE = """\
name: r
remote: {{cache: {folder}/cache, retry_interval_s: 0.001, retry_limit_s: 0.02}}
sources: {{web: {{ingest: {{format: jsonl, paths: [web.jsonl]}}, category: web}}}}
embeddings: {{model: {model}}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    with running_hub(tmp_path_factory.mktemp("hub")) as found:
        place = write_encoder(found.model("org/encoder"), pooling="cls", max_seq_length=32)
        (place / "pytorch_model.bin").write_bytes(b"a pickle")
        (place / "onnx").mkdir()
        (place / "onnx" / "model.onnx").write_bytes(b"other weights")
        yield found


def recipe(folder: Path, model: str) -> Path:
    (folder / "web.jsonl").write_text(json.dumps({"text": "w1 w2 w3"}))
    file = folder / "r.yaml"
    file.write_text(RECIPE.format(folder=folder, model=model))
    return file


def test_an_encoder_of_the_hub_comes_with_what_says_how_to_use_it(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_at(server, tmp_path / "home", monkeypatch)
    file = recipe(tmp_path, "org/encoder")
    pins = prepare(RunRequest.of(file, store=str(tmp_path / "a"))).pins["embeddings/web"]["model"]
    assert isinstance(pins, tuple)
    names = {pin.name for pin in pins}
    assert {"modules.json", "1_Pooling/config.json", "sentence_bert_config.json"} <= names
    assert {"model.safetensors", "tokenizer.json"} <= names
    assert not {"pytorch_model.bin", "onnx/model.onnx"} & names
    inline = EngineConfig(kind="inline", cpu_threads=1)
    near = run_direct(file, tmp_path / "a", inline, until="embeddings")["embeddings/web"]
    assert near.statistics["vectors"]["pooling"] == "cls"
    folder = write_encoder(tmp_path / "copy", pooling="cls", max_seq_length=32)
    file = recipe(tmp_path, str(folder))
    here = run_direct(file, tmp_path / "b", inline, until="embeddings")["embeddings/web"]
    assert here.digest == near.digest
    made = [one.statistics["vectors"]["fingerprint"] for one in (near, here)]
    assert made[0] == made[1]
