"""Vectors against plain transformers, whatever stands beside a document; what is refused."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from infra.engine import EngineConfig, start
from infra.remote.access import Access
from infra.stage import StageError
from infra.store import Artifact
from tasks.documents.vectors import from_column, made_with, require_comparable
from tasks.embeddings.check import faults
from tasks.embeddings.encoder import Encoder
from tasks.embeddings.folder import EncoderFolder
from tasks.embeddings.stage import STAGE, EmbeddingsParameters
from tasks.embeddings.windows import batches, shape_for, spans
from tests.minilm import minilm
from tests.stage_harness import data_digests, pins_of, run_stage
from tests.tables import documents
from tests.tasks.embeddings.tiny_encoder import WORDS, write_encoder

POOLINGS = ("mean", "cls", "max", "lasttoken")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


def texts(count: int, longest: int = 60, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, longest))) for _ in range(count)]


def encoder(folder: Path, **parameters: Any) -> Encoder:
    stated = EmbeddingsParameters(model=str(folder), **parameters)
    return Encoder(EncoderFolder.read(folder, stated), stated.prefix, stated.windows)


def plain(folder: Path, text: str, pooling: str = "mean") -> np.ndarray[Any, Any]:
    """What transformers gives one text, pooled as sentence-transformers' documentation says."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    with torch.inference_mode():
        hidden = model.eval()(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
    pooled = {
        "mean": hidden.mean(0), "cls": hidden[0], "max": hidden.amax(0), "lasttoken": hidden[-1]
    }[pooling]  # fmt: skip
    found: np.ndarray[Any, Any] = (pooled / pooled.norm()).numpy()
    return found


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_text_has_the_vector_that_transformers_gives_it(tmp_path: Path, pooling: str) -> None:
    folder = write_encoder(tmp_path, pooling=pooling)
    used = encoder(folder)
    for text in texts(6, 40):
        (found,), (known,) = used.vectors([text])
        assert known
        np.testing.assert_allclose(found, plain(folder, text, pooling), atol=1e-5)


def test_what_stands_beside_a_text_changes_no_bit_of_its_vector(folder: Path) -> None:
    used, given = encoder(folder), texts(150, 90)
    together, _ = used.vectors(given)
    backwards, _ = used.vectors(given[::-1])
    alone = np.concatenate([used.vectors([text])[0] for text in given[:20]])
    assert (together == backwards[::-1]).all()
    assert (together[:20] == alone).all()


def test_a_long_text_is_the_average_of_its_windows(folder: Path) -> None:
    words = texts(1, 1, 3)[0].split() + random.Random(5).choices(WORDS, k=154)
    used = encoder(folder, max_tokens=64)  # 62 words and two special tokens: 155 in three windows
    (found,), _ = used.vectors([" ".join(words)])
    cuts = [(0, 51), (51, 103), (103, 155)]
    windows = [plain(folder, " ".join(words[start:end])) for start, end in cuts]
    expected = sum((end - start + 2) * w for (start, end), w in zip(cuts, windows, strict=True))
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)
    (limited,), _ = encoder(folder, max_tokens=64, windows=1).vectors([" ".join(words)])
    np.testing.assert_allclose(limited, plain(folder, " ".join(words[:62])), atol=1e-5)


def test_every_window_has_the_prefix(folder: Path) -> None:
    words = random.Random(6).choices(WORDS, k=80)
    (found,), _ = encoder(folder, prefix="w1 w2 ", max_tokens=64).vectors([" ".join(words)])
    windows = [plain(folder, " ".join(["w1 w2", *words[at : at + 40]])) for at in (0, 40)]
    np.testing.assert_allclose(found, sum(windows) / np.linalg.norm(sum(windows)), atol=1e-5)
    with pytest.raises(StageError, match="which 2 special tokens and the 40 of"):
        encoder(folder, prefix="w1 " * 40, max_tokens=32)


@given(st.integers(0, 3_000), st.integers(1, 300), st.integers(1, 9))
def test_windows_cover_a_text_or_are_spread_over_it(tokens: int, most: int, windows: int) -> None:
    found = spans(tokens, most, windows)
    assert all(0 < span.end - span.start <= most for span in found)
    if tokens <= most * windows:
        assert [t for span in found for t in range(*span)] == list(range(tokens))
    else:
        assert len(found) == windows and found[0].start == 0
        assert windows == 1 or found[-1].end == tokens


@given(st.lists(st.integers(1, 1_500), max_size=60))
def test_every_window_is_in_one_batch_that_holds_it(lengths: list[int]) -> None:
    seen = []
    for shape, indices in batches(lengths):
        assert shape == shape_for(lengths[indices[0]]) and len(indices) <= shape.rows
        assert all(lengths[index] <= shape.tokens for index in indices)
        seen += indices
    assert sorted(seen) == list(range(len(lengths)))


def embed(tmp_path: Path, folder: Path, parts: Any, **options: Any) -> Artifact:
    parameters = EmbeddingsParameters(model=str(folder))
    given = {"documents": documents(tmp_path, "web", parts)}
    return run_stage(STAGE, parameters, given, "web", tmp_path=tmp_path, **options)


def test_the_stage_writes_the_same_bytes_for_any_engine(tmp_path: Path, folder: Path) -> None:
    parts = [texts(20, 80, 1), [], texts(9, 80, 2)]
    inline = data_digests(embed(tmp_path / "a", folder, parts))
    # One worker, which takes the parts in turn: a second would import torch for four seconds more.
    with start(EngineConfig(kind="processes", workers=1, cpu_threads=1)) as other:
        assert data_digests(embed(tmp_path / "b", folder, parts, engine=other)) == inline


def test_the_record_is_read_and_a_blank_one_has_no_vector(tmp_path: Path, folder: Path) -> None:
    rows = [{"text": "w1 w2"}, {"text": " \n"}, {"text": "w2", "prompt": "w1"}, {"text": "w2"}]
    made = embed(tmp_path, folder, [rows])
    vectors, known = from_column(pq.read_table(made.path("part-00000.parquet"))["vector"])
    assert known.tolist() == [True, False, True, True]
    assert (vectors[0] == vectors[2]).all() and (vectors[0] != vectors[3]).any()
    assert made.statistics["without_vector"] == 1 and made.ledger.documents("kept") == 4
    assert made.statistics["vectors"]["dimensions"] == 16
    lengths = np.linalg.norm(vectors[known].astype(float), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-3)


def test_vectors_of_other_models_are_refused_by_name(tmp_path: Path, folder: Path) -> None:
    other = write_encoder(tmp_path / "other", max_seq_length=32)
    copy = shutil.copytree(folder, tmp_path / "copy")
    made = [
        (name, how)
        for name, used in (("this", folder), ("that", other), ("a copy", copy))
        if (how := made_with(embed(tmp_path / name, used, [["w1"]])))
    ]
    require_comparable([made[0], made[2]], "")
    with pytest.raises(
        StageError, match=r"that has vectors of .*other, but this has .*fingerprint"
    ):
        require_comparable(made[:2], "use one")


def _nan(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.LayerNorm.bias"][:] = torch.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _lost(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [(_nan, "a vector of length nan"), (_lost, "lacks 1 tensors that its config.json")],
)
def test_damaged_weights_are_told(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = write_encoder(tmp_path / "model")
    damage(folder)
    with pytest.raises(StageError, match=message):
        embed(tmp_path, folder, [["w1 w2"]])


def _write(name: str, value: Any) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(json.dumps(value)) and None


def _modules(**paths: str) -> Callable[[Path], None]:
    listed = [{"type": f"x.{kind}", "path": path} for kind, path in paths.items()]
    return _write("modules.json", listed)


def _config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


@pytest.mark.parametrize(
    ("change", "stated", "message"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), {}, "neither model.safetensors"),
        (
            lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
            {},
            "weights as pickles",
        ),
        (lambda folder: (folder / "config.json").unlink(), {}, "no config.json"),
        (_config(auto_map={"AutoModel": "own.Model"}), {}, "code of the repository's own"),
        (lambda folder: None, {"max_tokens": 65}, "is 65 tokens, .* has 64 positions"),
        (_write("sentence_bert_config.json", {"max_seq_length": 512}), {}, "has 64 positions"),
        (
            _modules(Transformer="", Dense="2_Dense"),
            {},
            "names the module Dense",
        ),
        (_write("modules.json", {"a": 1}), {}, "is no list of modules"),
        (
            _modules(Transformer="../elsewhere"),
            {},
            "no folder beside it",
        ),
        (
            _modules(Transformer="", Pooling="1_Pooling"),
            {},
            "is missing; get the model again",
        ),
    ],
)  # fmt: skip
def test_a_plan_refuses_what_is_no_usable_encoder(
    tmp_path: Path, change: Callable[[Path], None], stated: dict[str, Any], message: str
) -> None:
    folder = write_encoder(tmp_path / "model")
    change(folder)
    parameters = EmbeddingsParameters(model=str(folder), **stated)
    (fault,) = faults(parameters, pins_of(parameters), Access())
    assert fault.parameter == "model"
    with pytest.raises(StageError, match=message):
        raise StageError(fault.what)


def test_a_real_sentence_model_tells_paraphrases_from_other_texts() -> None:
    used = encoder(minilm())
    given = [
        "A man is eating food.",
        "Someone is having a meal.",
        "The stock market fell sharply on Monday.",
        "Share prices dropped a lot at the start of the week.",
    ]
    vectors, _ = used.vectors(given)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > 0.5 and cosines[2, 3] > 0.5
    assert np.abs(cosines[:2, 2:]).max() < 0.2
    np.testing.assert_allclose(vectors[0], plain(minilm(), given[0]), atol=1e-5)
