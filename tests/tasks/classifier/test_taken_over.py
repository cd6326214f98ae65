"""Classifiers trained elsewhere: fastText files, sequence classifiers of Hugging Face."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.stage import StageError
from infra.store import Artifact
from tasks.classifier.check import faults
from tasks.classifier.stage import STAGE, ClassifierParameters
from tasks.scores.stage import STAGE as SCORES
from tasks.scores.stage import ScoresParameters
from tests.small_base import byte_tokenizer
from tests.stage_harness import pins_of, run_stage
from tests.tables import column, documents
from tests.tasks.langid.fasttext_file import write_classifier


def take(model: Path, tmp_path: Path, **changes: Any) -> Artifact:
    given = ClassifierParameters.model_validate({"model": str(model), **changes})
    return run_stage(STAGE, given, name="edu", tmp_path=tmp_path)


def scores(classifier: Artifact, tmp_path: Path, texts: list[str]) -> list[float | None]:
    source = documents(tmp_path / "in", "web", [texts])
    made = run_stage(
        SCORES,
        ScoresParameters(),
        {"documents": source, "classifier": classifier},
        name="web~edu",
        tmp_path=tmp_path,
    )
    return column(made, "score")


def test_a_fasttext_file_gives_the_probability_of_its_good_label(tmp_path: Path) -> None:
    write_classifier(tmp_path / "a.bin", {"hq": "theory energy", "cc": "buy cheap"})
    edu = take(tmp_path / "a.bin", tmp_path)
    assert edu.statistics["label"] == "hq"
    good, bad, unknown = scores(edu, tmp_path, ["theory\nof energy", "buy cheap", "xyz"])
    assert good is not None and bad is not None and good > 0.9 > 0.1 > bad
    assert unknown is None or 0 <= unknown <= 1
    other = take(tmp_path / "a.bin", tmp_path / "other", label="__label__cc")
    assert scores(other, tmp_path / "other", ["buy cheap"])[0] > 0.9  # type: ignore[operator]


def test_a_label_must_be_named_where_none_is_usual(tmp_path: Path) -> None:
    write_classifier(tmp_path / "a.bin", {"x": "theory", "y": "buy"})
    with pytest.raises(StageError, match=r"it has several labels; name the one .*: x, y"):
        take(tmp_path / "a.bin", tmp_path)
    with pytest.raises(StageError, match="'z' is none of its labels"):
        take(tmp_path / "a.bin", tmp_path, label="z")


def head(folder: Path, outputs: int, architecture: str = "BertForSequenceClassification") -> Path:
    """A tiny BERT with a head."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=260,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
        num_labels=outputs,
        pad_token_id=0,
    )
    BertForSequenceClassification(config).save_pretrained(folder, safe_serialization=True)
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**written, "architectures": [architecture]}))
    byte_tokenizer(258).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "piece 0"})
    )
    return folder


def test_a_head_with_one_output_gives_its_value(tmp_path: Path) -> None:
    """Whatever lies beside a document in its batch."""
    edu = take(head(tmp_path / "model", 1), tmp_path)
    assert edu.statistics["kind"] == "head" and edu.statistics["label"] == ""
    texts = [f"A text of some length {n} " * (1 + n % 7) for n in range(20)]
    together = scores(edu, tmp_path, [*texts, " "])
    assert together[-1] is None
    alone = scores(edu, tmp_path / "alone", texts[:1])
    assert alone[0] == pytest.approx(together[0], abs=1e-5)
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    with torch.inference_mode():
        expected = [
            float(
                model(**tokenizer(one, return_tensors="pt", truncation=True, max_length=64)).logits
            )
            for one in texts
        ]
    assert np.allclose(together[:-1], expected, atol=1e-5)


def test_a_head_with_several_outputs_gives_a_probability(tmp_path: Path) -> None:
    edu = take(head(tmp_path / "model", 2), tmp_path)
    assert edu.statistics["label"] == "LABEL_1"
    assert all(0 < s < 1 for s in scores(edu, tmp_path, ["one", "two"]) if s is not None)


def test_a_model_without_a_trained_head_and_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="its head would be random"):
        take(head(tmp_path / "model", 1, "BertForMaskedLM"), tmp_path)
    folder = tmp_path / "none"
    folder.mkdir()
    (folder / "readme.txt").write_text("x")
    given = ClassifierParameters.model_validate({"model": str(folder)})
    (fault,) = faults(given, pins_of(given), None)  # type: ignore[arg-type]
    assert "no config.json" in fault.what
    (tmp_path / "bad.bin").write_bytes(b"no model at all")
    with pytest.raises(StageError, match="is not a readable fastText model"):
        take(tmp_path / "bad.bin", tmp_path)
