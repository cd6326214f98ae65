"""Llama-2's and Llama-3's own tokenizer files, compared with sentencepiece and tiktoken."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tasks.checkpoints.base import open_base
from tasks.checkpoints.fast_tokenizers import LLAMA_3_WORDS
from tasks.checkpoints.tokenizer_files import read_tokenizer

CODE = Path(__file__).read_text().split("\n")


def lines() -> list[str]:
    """Code, noise, runs of spaces, prose in several languages."""
    rng = random.Random(0)
    alphabet = [*[" "] * 6, "a", "b", "中", "国", "\t", "😀", "{", "é", "1"]
    noise = ["".join(rng.choice(alphabet) for _ in range(rng.randint(1, 60))) for _ in range(1500)]
    spaces = [" " * count + "x" + " " * count for count in range(1, 80)]
    prose = [
        "我们今天去公园看花，天气很好。",
        " Chúng tôi làm việc ở Việt Nam.",
        "  leading",
        "trailing  ",
        "naïve café",
    ]
    return [line for line in [*CODE, *noise, *spaces, *prose] if line]


@pytest.mark.real
def test_llama_2_equals_sentencepiece_before_and_after_a_reload(
    real_data: Path, tmp_path: Path
) -> None:
    import sentencepiece

    source = real_data / "tokenizers" / "llama2-32000"
    expected = sentencepiece.SentencePieceProcessor(
        model_file=str(source / "tokenizer.model")
    ).encode(lines())
    folder = open_base(source, tmp_path)
    fast = read_tokenizer(folder)
    fast.encode_special_tokens = True
    assert [found.ids for found in fast.encode_batch(lines(), add_special_tokens=False)] == expected
    loaded = AutoTokenizer.from_pretrained(folder)
    assert (
        loaded(lines(), add_special_tokens=False, split_special_tokens=True)["input_ids"]
        == expected
    )
    assert loaded("x")["input_ids"][0] == loaded.bos_token_id == 1


@pytest.mark.real
def test_llama_3_equals_tiktoken(real_data: Path, tmp_path: Path) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    source = real_data / "tokenizers" / "llama3-128k"
    rows = [line.split() for line in (source / "tokenizer.model").read_bytes().splitlines()]
    ranks = {base64.b64decode(content): int(rank) for content, rank in rows}
    reference = tiktoken.Encoding(
        "llama-3", pat_str=LLAMA_3_WORDS, mergeable_ranks=ranks, special_tokens={}
    )
    fast = read_tokenizer(open_base(source, tmp_path))
    fast.encode_special_tokens = True
    expected = [reference.encode(line, disallowed_special=()) for line in lines()]
    assert [found.ids for found in fast.encode_batch(lines(), add_special_tokens=False)] == expected
    assert fast.token_to_id("<|begin_of_text|>") == 128_000
    assert fast.token_to_id("<|reserved_special_token_247|>") == 128_255
