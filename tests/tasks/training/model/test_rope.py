"""Angles by document: packed, in any micro-batch and order, as a fresh model has them alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tasks.training.model.loss import IGNORE_INDEX, LossModel
from tasks.training.model.rope import document_lengths, use_angles_by_document
from tests.tasks.training.toys import VOCABULARY, save_model

TRAINED, LENGTH = 16, 48
KINDS: dict[str, dict[str, Any]] = {
    "dynamic": {
        "max_position_embeddings": TRAINED,
        "rope_parameters": {"rope_type": "dynamic", "rope_theta": 100.0, "factor": 4.0},
    },
    "longrope": {
        "max_position_embeddings": 4 * TRAINED,
        "rope_parameters": {
            "rope_type": "longrope", "rope_theta": 100.0, "short_factor": [1.0] * 4,
            "long_factor": [1.0, 2.0, 3.0, 4.0], "original_max_position_embeddings": TRAINED,
            "factor": 4.0,
        },
    },
}  # fmt: skip
ROWS = [[40, 8], [10, 16, 17, 5], [48], [16, 16, 16], [33, 15]]


def test_document_lengths() -> None:
    positions = torch.tensor([[0, 1, 2, 0, 0, 1], [0, 1, 2, 3, 4, 5]])
    assert document_lengths(positions).tolist() == [[3, 3, 3, 1, 2, 2], [6] * 6]


@pytest.mark.parametrize("kind", KINDS)
def test_every_document_has_the_loss_it_has_alone_in_a_fresh_model(
    tmp_path: Path, kind: str
) -> None:
    folder = save_model(tmp_path / "model", initializer_range=0.3, **KINDS[kind])
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(0, VOCABULARY, (len(ROWS), LENGTH), generator=draw)
    labels = ids.roll(-1, 1)
    positions = torch.stack([torch.cat([torch.arange(n) for n in row]) for row in ROWS])
    labels[:, 1:][positions[:, 1:] == 0] = IGNORE_INDEX

    def fresh(patched: bool) -> LossModel:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
        if patched:
            use_angles_by_document(model, LENGTH)
        return LossModel(model)

    alone = torch.zeros(len(ROWS), dtype=torch.float64)
    for row, lengths in enumerate(ROWS):
        start = 0
        for length in lengths:
            part = slice(start, start + length)
            loss, _ = fresh(patched=False)(
                ids[row : row + 1, part], labels[row : row + 1, part], torch.arange(length)[None]
            )
            alone[row] += loss.detach()
            start += length
    ours = fresh(patched=True)
    with torch.no_grad():
        _, together = ours(ids, labels, positions)
        # Another order and micro-batch, after longer documents were seen.
        apart = torch.cat([ours(ids[i : i + 1], labels[i : i + 1], positions[i : i + 1])[1]
                           for i in reversed(range(len(ROWS)))]).flip(0)  # fmt: skip
        _, plain = fresh(patched=False)(ids, labels, positions)
    assert torch.allclose(together, alone, rtol=1e-6)
    assert torch.allclose(apart, together, rtol=1e-12)
    assert not torch.allclose(plain, alone, rtol=1e-4)  # what it would be by transformers alone


def test_angles_by_kind_of_layer_are_refused_beyond_the_trained_length(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(save_model(tmp_path / "model", **KINDS["dynamic"]))
    model.model.rotary_emb.rope_type = {"full_attention": "dynamic"}
    use_angles_by_document(model, TRAINED)
    with pytest.raises(ValueError, match=r"lower binning\.sequence_length to 16"):
        use_angles_by_document(model, LENGTH)
