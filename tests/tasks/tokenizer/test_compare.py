"""Colossal's table: counts by hand, every kind of tokenizer and of text file, clear refusals."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sentencepiece
from tokenizers import Tokenizer, models

from infra.stage import StageError
from tasks.checkpoints.tokenizer_files import write_tokenizer
from tasks.tokenizer.compare import compare, named, open_coder, render
from tasks.tokenizer.expand import grow
from tasks.tokenizer.sample_files import read_texts
from tasks.tokenizer.train import SETTINGS, bytes_only
from tests.tasks.checkpoints.samples import CHINESE, ENGLISH, MIXED, write_llama2c


@pytest.fixture
def tokenizers(tmp_path: Path) -> dict[str, Path]:
    """A folder, a bare file, a sentencepiece model without byte fallback, llama2.c's folder and
    file.
    """
    write_tokenizer(bytes_only(), tmp_path / "bytes", SETTINGS)
    grow(bytes_only(), CHINESE, 320).tokenizer.save(str(tmp_path / "zh.json"))
    with (tmp_path / "sp.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(ENGLISH),
            model_writer=file,
            vocab_size=60,
            model_type="bpe",
            minloglevel=2,
        )
    write_llama2c(tmp_path / "llama2c")
    paths = [
        tmp_path / name for name in ("bytes", "zh.json", "sp.model", "llama2c", "llama2c/tok.bin")
    ]
    return named(paths)


def test_the_table_counts_what_it_says(tokenizers: dict[str, Path]) -> None:
    texts = [*CHINESE, *ENGLISH]
    rows = {row.name: row for row in compare(tokenizers, texts)[0]}
    assert list(rows) == ["bytes", "zh.json", "sp.model", "llama2c", "tok.bin"]
    plain = rows["bytes"]
    assert (plain.vocabulary, plain.samples) == (259, 30)
    assert plain.tokens == plain.bytes == sum(len(text.encode()) for text in texts)
    assert plain.bytes_per_token == 1.0
    assert plain.tokens_per_character == pytest.approx(plain.bytes / sum(map(len, texts)))
    assert plain.tokens_per_sample == pytest.approx(plain.bytes / 30)
    grown = rows["zh.json"]
    assert grown.vocabulary == 320 and grown.tokens < plain.tokens
    assert [row.lossy for row in rows.values()] == [0, 0, 15, 0, 0], (
        "one model cannot spell Chinese"
    )
    assert rows["sp.model"].unknown >= 15 and grown.unknown == 0
    assert rows["llama2c"].to_json() | {"name": ""} == rows["tok.bin"].to_json() | {"name": ""}
    assert {"tokens_per_character", "bytes_per_token", "tokens_per_sample", "vocabulary"} <= set(
        plain.to_json()
    )


def test_special_tokens_in_the_text_are_text(tokenizers: dict[str, Path]) -> None:
    rows, _ = compare({"bytes": tokenizers["bytes"], "llama2c": tokenizers["llama2c"]}, MIXED)
    assert [row.lossy for row in rows] == [0, 0]
    assert rows[0].tokens == rows[0].bytes


def test_the_table_as_shown(tokenizers: dict[str, Path]) -> None:
    shown = render(compare({"bytes": tokenizers["bytes"]}, ["ab", "公"])[0]).split("\n")
    assert [cell.strip() for cell in shown[2].strip("|").split("|")] == [
        "bytes",
        "259",
        "1.667",
        "1.000",
        "2.500",
        "0",
        "0",
    ]
    assert len({len(line) for line in shown[:3]}) == 1
    assert shown[4].startswith("2 samples, 3 characters, 5 bytes")


def test_names_are_as_short_as_they_may_be() -> None:
    assert list(named([Path("/a/x/tokenizer.json"), Path("/b/y/tokenizer.json")])) == [
        "x/tokenizer.json",
        "y/tokenizer.json",
    ]
    assert list(named([Path("/a/x"), Path("/a/y")])) == ["x", "y"]


def test_texts_from_every_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"text": "one"}\n\n{"source": "", "target": "二"}\n{"text": "  "}\n'
    )
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write(json.dumps({"text": "three\nfour"}) + "\n")
    (tmp_path / "c.txt").write_text("  five\u2028six\r\n\nseven", encoding="utf-8", newline="")
    pq.write_table(pa.table({"id": [1, 2], "text": ["eight", None]}), tmp_path / "d.parquet")
    files = sorted(path for path in tmp_path.iterdir())
    assert read_texts(files) == ["one", "二", "three\nfour", "  five\u2028six", "seven", "eight"]


def test_texts_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    there = tmp_path / "there.txt"
    there.write_text("x")
    with pytest.raises(StageError, match=r"no such file: .*gone\.txt, .*away\.jsonl"):
        read_texts([tmp_path / "gone.txt", there, tmp_path / "away.jsonl"])
    for name, content, message in (
        (
            "a.jsonl",
            b'{"text": "x"}\n{"body": "y"}\n',
            r"a\.jsonl, line 2: no string field `text` or `target`.*body",
        ),
        ("b.jsonl", b"plain\n", r"line 1: not JSON"),
        ("c.txt", b"\xff\xfe", "not UTF-8 text"),
        ("d.txt", b"\n \n", "no text in"),
        ("e.parquet", b"PAR0", "is not a Parquet file"),
        ("f.txt.gz", b"plain", "not UTF-8 text"),
        ("h.jsonl", b'{"text": "a"}\n{"text": "\\ud800"}\n', "line 2: half of a surrogate pair"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StageError, match=message):
            read_texts([tmp_path / name])
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "g.parquet")
    with pytest.raises(StageError, match=r"no column `text` or `target`.*body"):
        read_texts([tmp_path / "g.parquet"])
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "i.parquet")
    with pytest.raises(StageError, match="column `text` holds int64, not strings"):
        read_texts([tmp_path / "i.parquet"])


def test_tokenizers_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="gone does not exist"):
        open_coder(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.md").write_text("x")
    with pytest.raises(StageError, match=r"has no tokenizer.*notes\.md"):
        open_coder(tmp_path / "empty")
    (tmp_path / "bad.model").write_bytes(b"\x00\x01not a model")
    with pytest.raises(StageError, match="not a sentencepiece model"):
        open_coder(tmp_path / "bad.model")
    (tmp_path / "pointer").mkdir()
    (tmp_path / "pointer" / "tokenizer.json").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    )
    with pytest.raises(StageError, match=r"tokenizer\.json is a Git LFS pointer.*git lfs pull"):
        open_coder(tmp_path / "pointer")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(StageError, match=r"not a tokenizer\.json"):
        open_coder(tmp_path / "bad.json")


def test_a_word_level_tokenizer_counts_its_unknown_tokens(tmp_path: Path) -> None:
    Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]")).save(
        str(tmp_path / "words.json")
    )
    ((row,), _) = compare({"words": tmp_path / "words.json"}, ["a", "b"])
    assert (row.tokens, row.unknown, row.lossy) == (2, 1, 1)


@pytest.mark.real
def test_published_tokenizers(real_data: Path) -> None:
    folders = [
        real_data / "tokenizers" / name
        for name in ("llama2-32000", "chinese-llama2-55296", "llama3-128k")
    ]
    texts = read_texts(sorted((real_data / "prose_zh/ruanyf-weekly/docs").glob("issue-1*.md")))
    rows, _ = compare(named(folders), texts)
    assert [row.vocabulary for row in rows] == [32_000, 55_296, 128_256]
    assert [row.lossy for row in rows] == [0, 0, 0]
    assert rows[1].tokens < 0.7 * rows[0].tokens, "Colossal's README: 0.668 against 1.205"


def test_what_cannot_be_read_is_told_and_the_others_are_compared(
    tokenizers: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "nonsense.model").write_text("nonsense")
    given = {
        "gone": tmp_path / "gone",
        "bytes": tokenizers["bytes"],
        "folder": tmp_path,
        "broken": tmp_path / "broken.json",
    }
    rows, unread = compare({**given, "nonsense": tmp_path / "nonsense.model"}, ["ab"])
    assert [row.name for row in rows] == ["bytes"] and rows[0].tokens == 2
    assert list(unread) == ["gone", "folder", "broken", "nonsense"]
    assert "does not exist" in unread["gone"] and "is not a tokenizer.json" in unread["broken"]
