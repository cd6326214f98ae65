"""A toy model, toy bins and toy artifacts for training tests."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import LlamaConfig, LlamaForCausalLM

from tasks.checkpoints.tokenizer_files import write_tokenizer
from tasks.documents.rows import IGNORE_INDEX, schema
from tasks.training.spec import Spec
from tasks.training.stage import TrainingParameters

VOCABULARY = 96
LENGTH = 32


def save_model(
    folder: Path, *, tied: bool = False, layers: int = 2, seed: int = 0, **config: Any
) -> Path:
    """Write a random Llama with a tokenizer."""
    torch.manual_seed(seed)
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    model = LlamaForCausalLM(
        LlamaConfig(
            **{
                "vocab_size": VOCABULARY,
                "num_hidden_layers": layers,
                "max_position_embeddings": 512,
            }
            | sizes
            | {"tie_word_embeddings": tied, "bos_token_id": 1, "eos_token_id": 2}
            | config
        )
    )
    model.save_pretrained(folder)
    words = {f"w{i}": i for i in range(VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = Whitespace()
    write_tokenizer(tokenizer, folder, {"unk_token": "w0"})
    return folder


def save_bin(
    folder: Path, rows: int, *, seed: int, length: int = LENGTH, vocabulary: int = VOCABULARY
) -> Path:
    """Write a bin of random documents that can be learned: each counts up by a random stride."""
    draw = np.random.default_rng(seed)
    ids = np.zeros((rows, length), np.uint32)
    labels = np.full((rows, length), IGNORE_INDEX, np.int32)
    documents = []
    for row in range(rows):
        pieces, start = [], 0
        padding = int(draw.integers(0, 3))
        while start < length - padding:
            size = min(int(draw.integers(4, 20)), length - padding - start)
            tokens = (
                int(draw.integers(vocabulary)) + np.arange(size) * int(draw.integers(1, 4))
            ) % vocabulary
            ids[row, start : start + size] = tokens
            labels[row, start + 1 : start + size] = tokens[1:]
            pieces.append(
                {"id": f"d{seed}-{row}-{start}", "start": start, "length": size, "offset": 0}
            )
            start += size
        documents.append(pieces)
    batch = pa.record_batch(
        [
            pa.FixedSizeListArray.from_arrays(pa.array(ids.ravel()), length),
            pa.FixedSizeListArray.from_arrays(pa.array(labels.ravel()), length),
            pa.array([IGNORE_INDEX] * rows, pa.int32()),
            pa.array(documents, schema(length).field("documents").type),
        ],
        schema=schema(length),
    )
    folder.mkdir(parents=True)
    with (
        pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, batch.schema) as w,
    ):
        w.write_batch(batch)
    return folder


def save_bins(root: Path, rows: dict[str, list[int]], **options: Any) -> dict[str, list[str]]:
    """Write bins of the given rows by category; returns their folders."""
    return {
        category: [
            str(save_bin(root / category / f"bin-{i:02d}", n, seed=100 * c + i, **options))
            for i, n in enumerate(sizes)
        ]
        for c, (category, sizes) in enumerate(sorted(rows.items()))
    }


def parameters(**changes: Any) -> TrainingParameters:
    """Parameters of a small phase: 10 steps of 4 rows."""
    values: dict[str, Any] = {
        "tokens": "40 rows",
        "batch": 4 * LENGTH,
        "sequence_length": LENGTH,
        "mixture": "buckets",
        "schedule": {"kind": "constant", "warmup": 0, "final_ratio": 1.0, "decay": 0.1},
        "optimizer": {"lr": 1e-3},
        "micro_batch": 2,
    }
    return TrainingParameters.model_validate(values | changes)


def spec(
    root: Path,
    previous: Path,
    bins: dict[str, list[str]],
    values: TrainingParameters,
    **changes: Any,
) -> Spec:
    """A spec with scratch and output below `root`."""
    root.mkdir(parents=True, exist_ok=True)
    given: dict[str, Any] = {
        "state": None,
        "scratch": str(root / "scratch"),
        "output": str(root / "output"),
    }
    return Spec(parameters=values, bins=bins, previous=str(previous), **(given | changes))
