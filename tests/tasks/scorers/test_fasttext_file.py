"""fastText writes a model on a full disk without a word: the file is measured instead."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import fasttext
import pytest

from tasks.classifier.fasttext_process import train
from tasks.scorers.fasttext_scorer import require_whole


def test_a_model_that_was_cut_short_by_a_full_disk_is_refused(tmp_path: Path) -> None:
    rng = random.Random(1)
    words = [f"{stem}{number}" for stem in ("wörd", "some", "北京", "a") for number in range(9)]
    lines = [
        f"__label__{'good' if number % 2 else 'other'} {' '.join(rng.choices(words, k=30))}"
        for number in range(200)
    ]
    corpus, file = tmp_path / "corpus.txt", tmp_path / "model.bin"
    corpus.write_text("\n".join(lines), encoding="utf-8")
    settings = {"dim": 4, "epoch": 1, "lr": 0.5, "wordNgrams": 2, "minCount": 2, "bucket": 200_000}
    train(corpus, file, settings, tmp_path, "of a test")
    model = fasttext.load_model(str(file))
    require_whole(file, model)
    os.truncate(file, file.stat().st_size - 1)
    with pytest.raises(OSError, match="model") as caught:
        require_whole(file, model)
    assert caught.value.errno == errno.ENOSPC
