"""llama2.c's files: layout, rotary order, the tokenizer's BPE, and the real stories260K."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from infra.stage import StageError
from tasks.checkpoints import llama2c
from tasks.checkpoints.base import open_base
from tasks.checkpoints.base_config import config_of
from tasks.checkpoints.llama2c_header import files_of
from tests.tasks.checkpoints.samples import llama2c_pieces, sentencepiece_base, write_llama2c


def reference_encode(text: str, pieces: list[tuple[float, bytes]]) -> list[int]:
    """`encode` of llama2.c's run.c without BOS and EOS."""
    ids = {piece: index for index, (_, piece) in enumerate(pieces)}
    tokens = [ids[b" "]] if text else []
    for char in text:
        raw = char.encode()
        tokens.extend([ids[raw]] if raw in ids else [byte + 3 for byte in raw])
    while True:
        best, at = -1e10, -1
        for i in range(len(tokens) - 1):
            joined = ids.get(pieces[tokens[i]][1] + pieces[tokens[i + 1]][1])
            if joined is not None and pieces[joined][0] > best:
                best, at = pieces[joined][0], i
        if at < 0:
            return tokens
        tokens[at : at + 2] = [ids[pieces[tokens[at]][1] + pieces[tokens[at + 1]][1]]]


def reference_logits(path: Path, tokens: list[int]) -> np.ndarray:
    """Logits of the last position from `forward` of llama2.c's run.c, in float64."""
    s = llama2c.read_header(path)
    flat = np.fromfile(path, "<f4", offset=28).astype(np.float64)
    kv, at = s.kv_heads * s.head, 0

    def take(*dims: int) -> np.ndarray:
        nonlocal at
        at += int(np.prod(dims))
        return flat[at - int(np.prod(dims)) : at].reshape(dims)

    embed, norm_a = take(s.vocabulary, s.dim), take(s.layers, s.dim)
    wq, wk, wv = take(s.layers, s.dim, s.dim), take(s.layers, kv, s.dim), take(s.layers, kv, s.dim)
    wo, norm_f = take(s.layers, s.dim, s.dim), take(s.layers, s.dim)
    w1, w2, w3 = (
        take(s.layers, s.hidden, s.dim),
        take(s.layers, s.dim, s.hidden),
        take(s.layers, s.hidden, s.dim),
    )
    norm, _ = take(s.dim), take(2, s.sequence, s.head // 2)
    head = embed if s.shared else take(s.vocabulary, s.dim)

    def rms(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        return w * x / np.sqrt((x * x).mean() + 1e-5)

    def rotate(x: np.ndarray, position: int) -> np.ndarray:
        out = x.copy()
        for i in range(0, len(x), 2):
            angle = position / 10000.0 ** ((i % s.head) / s.head)
            c, n = np.cos(angle), np.sin(angle)
            out[i], out[i + 1] = x[i] * c - x[i + 1] * n, x[i] * n + x[i + 1] * c
        return out

    keys: list[list[np.ndarray]] = [[] for _ in range(s.layers)]
    values: list[list[np.ndarray]] = [[] for _ in range(s.layers)]
    for position, token in enumerate(tokens):
        x = embed[token].copy()
        for layer in range(s.layers):
            h = rms(x, norm_a[layer])
            q = rotate(wq[layer] @ h, position)
            keys[layer].append(rotate(wk[layer] @ h, position))
            values[layer].append(wv[layer] @ h)
            out = np.zeros(s.dim)
            for i in range(s.heads):
                group = i // (s.heads // s.kv_heads) * s.head
                k = np.stack(keys[layer])[:, group : group + s.head]
                score = k @ q[i * s.head : (i + 1) * s.head] / np.sqrt(s.head)
                weight = np.exp(score - score.max())
                v = np.stack(values[layer])[:, group : group + s.head]
                out[i * s.head : (i + 1) * s.head] = weight / weight.sum() @ v
            x = x + wo[layer] @ out
            h = rms(x, norm_f[layer])
            gate = w1[layer] @ h
            x = x + w2[layer] @ (gate / (1 + np.exp(-gate)) * (w3[layer] @ h))
    return head @ rms(x, norm)


@pytest.mark.parametrize("shared", [True, False])
def test_logits_equal_run_c(tmp_path: Path, shared: bool) -> None:
    source = write_llama2c(tmp_path / "source", shared=shared)
    model = AutoModelForCausalLM.from_pretrained(open_base(source, tmp_path), dtype=torch.float64)
    tokens = [1, 300, 270, 5, 288, 261, 299]
    ours = model(torch.tensor([tokens])).logits[0, -1].detach().numpy()
    # transformers computes the rotary angles in float32
    np.testing.assert_allclose(ours, reference_logits(source / "small.bin", tokens), atol=2e-5)
    assert model.config.tie_word_embeddings is shared


def test_conversion_gives_the_same_bytes(tmp_path: Path) -> None:
    source = write_llama2c(tmp_path / "source")
    first, second = open_base(source, tmp_path / "a"), open_base(source, tmp_path / "b")
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


PIECES = llama2c_pieces()
FAST = sentencepiece_base()
FAST.encode_special_tokens = True  # as in run.c, where "<s>" in a text is plain text


@given(st.text(st.sampled_from("theandcsi on  \n公😀<>"), max_size=40))
def test_bpe_equals_run_c(text: str) -> None:
    assert FAST.encode(text, add_special_tokens=False).ids == reference_encode(text, PIECES)


def test_cut_files_are_refused(tmp_path: Path) -> None:
    source = write_llama2c(tmp_path / "source")
    whole = (source / "small.bin").read_bytes()
    (source / "small.bin").write_bytes(whole[:-4])
    with pytest.raises(StageError, match="file is truncated or altered"):
        open_base(source, tmp_path)
    (source / "small.bin").write_bytes(b"\xff" * 80)
    with pytest.raises(StageError, match="not that of a legacy llama2"):
        open_base(source, tmp_path)
    (source / "small.bin").write_bytes(whole)
    (source / "tok.bin").write_bytes((source / "tok.bin").read_bytes()[:-3])
    with pytest.raises(StageError, match="309 of 310 tokens"):
        open_base(source, tmp_path)


def test_a_folder_that_is_not_a_base_is_refused(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing")
    with pytest.raises(StageError, match="cannot be opened as a base"):
        open_base(tmp_path, tmp_path / "scratch")


STORY = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball."
)


@pytest.mark.real
def test_stories260k_tells_its_story(stories260k: Path, tmp_path: Path) -> None:
    folder = open_base(stories260k, tmp_path)
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    ids = torch.tensor([[tokenizer.bos_token_id]])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=60, do_sample=False
    )
    assert tokenizer.decode(out[0], skip_special_tokens=True).startswith(STORY)


@pytest.mark.real
def test_stories260k_tokenizer_equals_run_c(stories260k: Path) -> None:
    path = stories260k / "tok512.bin"
    pieces, fast = llama2c.read_pieces(path, 512), llama2c.read_tokenizer(path, 512)
    fast.encode_special_tokens = True
    lines = [
        STORY,
        "  Timmy's  dog  ran",
        "我们今天去公园😀",
        "tab\tand\nnewline",
        "é€“quoted”…",
        "",
        " ",
        "a" * 40,
    ]
    for text in [line[start:] for line in lines for start in range(0, len(line) + 1, 3)]:
        assert fast.encode(text, add_special_tokens=False).ids == reference_encode(text, pieces), (
            text
        )


def test_a_plan_reads_the_configuration_without_converting(tmp_path: Path) -> None:
    folder = write_llama2c(tmp_path / "source")
    converted = json.loads((open_base(folder, tmp_path) / "config.json").read_text())
    assert config_of(folder) == converted and converted["max_position_embeddings"] == 32
    model, _ = files_of(folder) or (folder, folder)
    model.write_bytes(b"short")
    assert config_of(folder) is None  # which the stage reports
    (folder / "config.json").write_text('{"max_position_embeddings": 7}')
    assert config_of(folder) == {"max_position_embeddings": 7}
    assert config_of("artifact:demo-base/training/basic@latest") is None
