"""Small bases and texts for tests of checkpoints, tokenizer and model."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from infra.context import Context
from infra.stage import Outcome, Parameters, Stage
from infra.store import Artifact
from infra.store.attempt import Shard
from tasks.checkpoints.fast_tokenizers import WHITESPACE, sentencepiece_style
from tasks.checkpoints.merges import merges_of
from tests.stage_harness import run_stage

ENGLISH = [
    "The cat sat on the mat and the other cat sat there too.",
    "Once upon a time there was a little girl who lived at the end of the road.",
    "She said: the weather is better than yesterday, isn't it? 12345 times!",
] * 5
CHINESE = [
    "我们今天去公园看花，天气很好。",
    "今天天气不好，我们不去公园了。",
    "公园里有很多花，也有很多人😀。",
] * 5
MIXED = [
    "  def f(x):\n\treturn x  # 返回\n",
    "naïve café — Ünïcödé 公园 😀😀",
    "<s>literal</s> <|end_of_text|> \u00a0x",
]


class TextParameters(Parameters):
    """The texts of each file, by its name."""

    files: dict[str, tuple[str, ...]]
    language: str = "zh"


SELECT = Stage(
    "select",
    1,
    TextParameters,
    "tests.tasks.checkpoints.samples:write_texts",
    "JSONL as select writes it",
)


def write_texts(context: Context) -> Outcome:
    """Stage function of `SELECT`."""
    context.map(
        _write_file, {name: (name, context.parameters) for name in sorted(context.parameters.files)}
    )
    return Outcome()


def _write_file(item: tuple[str, TextParameters], shard: Shard) -> dict[str, Any]:
    name, parameters = item
    with shard.create(name) as path:
        rows = [
            {
                "source": "",
                "target": text,
                "category": name.split("/")[-2],
                "language": parameters.language,
            }
            for text in parameters.files[name]
        ]
        path.write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
        )
    return {}


def select(files: Mapping[str, list[str]], tmp_path: Path, name: str = "zh-web") -> Artifact:
    """A select artifact with the texts of each file (such as `web-zh/part-00000.jsonl`)."""
    parameters = TextParameters(files={file: tuple(texts) for file, texts in files.items()})
    return run_stage(SELECT, parameters, name=name, tmp_path=tmp_path)


PIECES = [
    "th",
    "▁a",
    "he",
    "▁the",
    "▁s",
    "at",
    "▁c",
    "nd",
    "▁and",
    "▁▁",
    "▁▁▁▁",
    "in",
    "er",
    "on",
    "▁cat",
]


def llama2c_pieces() -> list[tuple[float, bytes]]:
    """Scores and bytes of a small llama2.c vocabulary."""
    alphabet = sorted({char for text in ENGLISH for char in text if char != " "})
    plain = [*PIECES, WHITESPACE, *alphabet]
    return [
        (0.0, b"<unk>"),
        (0.0, b"\n<s>\n"),
        (0.0, b"\n</s>\n"),
        *((0.0, f"<0x{byte:02X}>".encode()) for byte in range(256)),
        *((-float(i), piece.replace(WHITESPACE, " ").encode()) for i, piece in enumerate(plain)),
    ]


def sentencepiece_base() -> Tokenizer:
    """The same vocabulary as a fast tokenizer."""
    names = [
        "<unk>",
        "<s>",
        "</s>",
        *(piece.decode().replace(" ", WHITESPACE) for _, piece in llama2c_pieces()[3:]),
    ]
    merges = merges_of(names[259:], names[259:])
    return sentencepiece_style(
        {n: i for i, n in enumerate(names)}, merges, bos="<s>", eos="</s>", unknown="<unk>"
    )


def write_llama2c(folder: Path, *, shared: bool = True, seed: int = 0) -> Path:
    """A folder with a small random llama2.c model and its tokenizer."""
    folder.mkdir(parents=True)
    pieces = llama2c_pieces()
    dim, hidden, layers, heads, kv_heads, sequence = 16, 24, 2, 4, 2, 32
    size, head = len(pieces), dim // heads
    kv = kv_heads * head
    counts = [
        size * dim,
        layers * dim,
        layers * dim * dim,
        layers * kv * dim,
        layers * kv * dim,
        layers * dim * dim,
        layers * dim,
        layers * hidden * dim,
        layers * dim * hidden,
        layers * hidden * dim,
        dim,
        sequence * head,
        0 if shared else size * dim,
    ]
    values = np.random.default_rng(seed).normal(0, 0.3, sum(counts)).astype("<f4")
    header = struct.pack(
        "<7i", dim, hidden, layers, heads, kv_heads, size if shared else -size, sequence
    )
    (folder / "small.bin").write_bytes(header + values.tobytes())
    blob = b"".join(struct.pack("<fi", score, len(piece)) + piece for score, piece in pieces)
    (folder / "tok.bin").write_bytes(
        struct.pack("<i", max(len(piece) for _, piece in pieces)) + blob
    )
    return folder
