"""Margins by a sequence classifier of Hugging Face, such as FineWeb-Edu's.

A text is cut to `max_tokens`. Batches have a fixed number of texts, in the order of the documents
by length within a row group, on one thread, so that scores depend on nothing but the row group.
No code of a repository runs, and only safetensors are read.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.stage import StageError
from tasks.scorers.meta import ScorerMeta

FOLDER = "model"
BATCH = 16


@functools.lru_cache(maxsize=2)
def load(folder: str, device: str) -> tuple[Any, Any]:
    """(tokenizer, model) of a folder, once per process; StageError for what is no classifier."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    if device == "cuda" and not torch.cuda.is_available():
        raise StageError(
            f"{folder}: the classifier is to run on cuda, and torch finds no GPU here; set device: "
            "cpu"
        )
    torch.set_num_threads(1)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise StageError(
            f"{folder} does not load as a sequence classifier ({str(error).splitlines()[0]}); name "
            "a folder with config.json, the tokenizer and weights as safetensors"
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
        model.config.pad_token_id = tokenizer.pad_token_id
    return tokenizer, model.to(device).eval()


def outputs_of(folder: Path) -> tuple[str, ...]:
    """Names of a model's outputs; one for a model that states a score."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    return tuple(str(config.id2label[at]) for at in range(config.num_labels))


def untrained_head(folder: Path) -> bool:
    """Whether the model has no head: transformers would make one of random numbers."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    named = config.architectures or ()
    return not any("SequenceClassification" in name for name in named)


def margins(folder: str, meta: ScorerMeta, texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """The model's only output, or the probability of `meta.label`, for each text; NaN for an empty
    one.
    """
    import torch

    tokenizer, model = load(folder, meta.device)
    names = [str(model.config.id2label[at]) for at in range(model.config.num_labels)]
    found = np.full(len(texts), np.nan)
    limit = min(meta.max_tokens, _positions(model))
    # long texts cost little more than their first tokens to tokenize
    cut = [text[: limit * 16] for text in texts]
    order = sorted((row for row, text in enumerate(cut) if text.strip()), key=lambda r: len(cut[r]))
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        batch = tokenizer(
            [cut[row] for row in rows],
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=limit,
        ).to(model.device)
        with torch.inference_mode():
            logits = model(**batch).logits.float().cpu()
        values = logits[:, 0] if len(names) == 1 else logits.softmax(-1)[:, names.index(meta.label)]
        found[rows] = values.double().numpy()
    return found


def _positions(model: Any) -> int:
    stated = int(getattr(model.config, "max_position_embeddings", 0) or 0)
    padding = int(getattr(model.config, "pad_token_id", 0) or 0)
    # RoBERTa and its like count positions from the padding's id on
    offset = padding + 1 if "roberta" in str(model.config.model_type) else 0
    return stated - offset if stated else 1 << 20
