"""The stage: tokens conserved, targets right over cuts, special tokens in text stay text, even
bins.
"""

import hashlib
import random
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.ledger import Ledger
from infra.stage import StageError
from infra.store import Artifact
from infra.store.manifest import Manifest
from tasks.binning import category
from tasks.binning import run as binning
from tasks.binning.pack import pack
from tasks.binning.stage import STAGE, BinningParameters, Packing
from tasks.binning.write import Documents, write_rows
from tasks.documents.rows import IGNORE_INDEX, Rows
from tasks.documents.tokenize import DocumentTokenizer, Tokens
from tests.stage_harness import data_digests, run_stage
from tests.tasks.binning.inputs import WORDS, artifact, line, tokenizer_files, train

BOS, EOS = 1, 2


def texts(count: int, seed: int = 0) -> list[str]:
    dice = random.Random(seed)
    return [
        " ".join(dice.choices(WORDS, k=int(dice.lognormvariate(3.5, 1)) + 1)) for _ in range(count)
    ]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train(texts(200))


def build(tmp_path: Path, tokenizer: Any, files: dict[str, str], **parameters: Any) -> Artifact:
    given = BinningParameters.model_validate({"sequence_length": 64, "bins": 3, **parameters})
    select = artifact("select", "books", files, tmp_path)
    other = artifact(
        "select", "web", {"other/part-00000.jsonl": line(9_999, "not of this category")}, tmp_path
    )
    inputs = {
        "select": [select, other],
        "tokenizer": artifact("tokenizer", "main", tokenizer_files(tokenizer), tmp_path),
    }
    return run_stage(STAGE, given, inputs, name="web", tmp_path=tmp_path)


def bins(made: Artifact) -> list[Path]:
    return [made.folder(name) for name in sorted({name.partition("/")[0] for name in made.files()})]


def documents(rows: Rows) -> dict[str, tuple[list[int], list[int]]]:
    """Document id -> (tokens, labels) put together again from the rows, which are checked on the
    way.
    """
    pieces: dict[str, list[tuple[int, list[int], list[int]]]] = {}
    for index in range(len(rows)):
        batch = {name: values[0] for name, values in rows.batch([index]).items()}
        filled = 0
        for span in rows.provenance(index):
            assert span.start == filled and span.length > 0
            at = slice(span.start, span.start + span.length)
            assert batch["position_ids"][at].tolist() == list(range(span.length))
            pieces.setdefault(span.id, []).append(
                (span.offset, batch["input_ids"][at].tolist(), batch["shift_labels"][at].tolist())
            )
            filled += span.length
        assert (batch["shift_labels"][filled:] == IGNORE_INDEX).all()
        assert batch["position_ids"][filled:].tolist() == list(range(rows.sequence_length - filled))
    whole = {}
    for name, found in pieces.items():
        found.sort()
        tokens = [token for _, ids, _ in found for token in ids]
        assert [offset for offset, _, _ in found] == np.cumsum(
            [0, *(len(ids) for _, ids, _ in found[:-1])]
        ).tolist()
        whole[name] = (tokens, [label for _, _, labels in found for label in labels])
    return whole


def test_no_token_is_lost_and_every_target_is_the_next_token(
    tmp_path: Path, tokenizer: Any
) -> None:
    written = texts(300)
    half = len(written) // 2
    files = {
        "web/part-00000.jsonl": "".join(line(n, text) for n, text in enumerate(written[:half])),
        "web/part-00001.jsonl": "".join(
            line(n, text, language="zh") for n, text in enumerate(written[half:], half)
        ),
        "heldout/web/part-00000.jsonl": line(5_000, "never seen"),
    }
    made = build(tmp_path, tokenizer, files)
    found = documents(Rows(bins(made)))
    expected = {
        f"{n:032x}": [BOS, *tokenizer.encode(text).ids, EOS] for n, text in enumerate(written)
    }
    assert {name: tokens for name, (tokens, _) in found.items()} == expected
    assert all(labels == [*tokens[1:], IGNORE_INDEX] for tokens, labels in found.values())
    statistics = made.statistics
    tokens = sum(map(len, expected.values()))
    assert (statistics["documents"], statistics["tokens"], statistics["text_tokens"]) == (
        300,
        tokens,
        tokens - 600,
    )
    assert statistics["loss_tokens"] == tokens - 300
    assert (
        statistics["rows"] * 64
        == statistics["row_tokens"]
        == statistics["tokens"] + statistics["padding"]
    )
    assert statistics["split_documents"] == sum(len(ids) > 64 for ids in expected.values()) > 0
    assert statistics["bytes"] == sum(len(text.encode()) for text in written)
    assert [sum(bin_["rows"] for bin_ in statistics["bins"])] == [len(Rows(bins(made)))]
    ledger = made.ledger
    assert (
        ledger.documents("kept")
        == ledger.documents("read")
        == ledger.documents("kept", source="books")
        == 300
    )
    assert {row["language"] for row in made.manifest.data["ledger"]["rows"]} == {"en", "zh"}


def test_prompt_is_context_without_loss(tmp_path: Path, tokenizer: Any) -> None:
    prompt, text = "wool of a llama? ", " ".join(["grass", "wind"] * 60)
    for loss_on_source in (False, True):
        made = build(
            tmp_path,
            tokenizer,
            {"web/part-0.jsonl": line(1, text, prompt)},
            bins=1,
            loss_on_source=loss_on_source,
        )
        ((tokens, labels),) = documents(Rows(bins(made))).values()
        assert tokens == [BOS, *tokenizer.encode(prompt + text).ids, EOS]
        masked = (
            0
            if loss_on_source
            else labels.index(next(label for label in labels if label != IGNORE_INDEX))
        )
        assert labels == [IGNORE_INDEX] * masked + tokens[masked + 1 :] + [IGNORE_INDEX]
        if not loss_on_source:
            assert tokenizer.decode(tokens[1 : masked + 1]).strip() == prompt.strip()


def test_special_tokens_in_text_stay_text(tmp_path: Path, tokenizer: Any) -> None:
    text = "a </s> b <s>c<unk>"
    for prompt in ("", "<s></s> "):
        made = build(
            tmp_path / f"p{len(prompt)}",
            tokenizer,
            {"web/part-0.jsonl": line(1, text, prompt)},
            bins=1,
        )
        ((tokens, _),) = documents(Rows(bins(made))).values()
        assert (tokens[0], tokens[-1]) == (BOS, EOS) and not {0, BOS, EOS} & set(tokens[1:-1])
        assert tokenizer.decode(tokens[1:-1], skip_special_tokens=False) == prompt + text


def test_end_token_added_as_an_ordinary_one_is_not_found_in_text(tmp_path: Path) -> None:
    plain = train(texts(50))
    plain.add_tokens(["<|end|>"])
    for name, content in tokenizer_files(plain, bos_token=None, eos_token="<|end|>").items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    encoder = DocumentTokenizer(tmp_path / "tokenizer")
    assert encoder.begin == [] and encoder.end == [plain.token_to_id("<|end|>")] == [
        encoder.padding
    ]
    ids = encoder.encode([("", "x <|end|> y")])[0].ids.tolist()
    assert ids.count(encoder.end[0]) == 1 and ids[-1] == encoder.end[0]


def test_tokenizer_without_ends_is_refused(tmp_path: Path) -> None:
    for name, content in tokenizer_files(train(texts(5)), bos_token=None, eos_token=None).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    with pytest.raises(StageError, match="neither bos_token nor eos_token"):
        DocumentTokenizer(tmp_path / "tokenizer")


def test_datasets_reads_every_bin(tmp_path: Path, tokenizer: Any) -> None:
    made = build(
        tmp_path,
        tokenizer,
        {"web/part-0.jsonl": "".join(line(n, t) for n, t in enumerate(texts(20)))},
        bins=12,
    )
    for folder in bins(made):
        dataset = datasets.load_from_disk(str(folder))
        rows = Rows([folder])
        assert len(dataset) == len(rows)
        for index in range(len(rows)):
            assert dataset[index]["input_ids"] == rows.batch([index])["input_ids"][0].tolist()
            assert dataset[index]["documents"] == [
                span._asdict() for span in rows.provenance(index)
            ]
    assert len(bins(made)) == 12


def test_bins_are_even_and_do_not_depend_on_files(tmp_path: Path, tokenizer: Any) -> None:
    written = texts(600)
    one = {"web/part-0.jsonl": "".join(line(n, text) for n, text in enumerate(written))}
    made = build(tmp_path / "a", tokenizer, one)
    assert all(160 < bin_["documents"] < 240 for bin_ in made.statistics["bins"])
    many = {f"web/part-{n:05d}.jsonl": line(n, text) for n, text in enumerate(written)}
    split = build(tmp_path / "b", tokenizer, many)
    first, second = (
        {name: digest for name, digest in data_digests(one).items() if name.endswith(".arrow")}
        for one in (made, split)
    )
    assert first == second and len(first) == 3


def test_ranges_read_every_line_once(
    tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = texts(200)
    files = {"web/part-0.jsonl": "".join(line(n, text) for n, text in enumerate(written[:150]))}
    files["web/part-1.jsonl"] = "".join(line(n, text) for n, text in enumerate(written[150:], 150))
    whole = documents(Rows(bins(build(tmp_path / "a", tokenizer, files))))
    monkeypatch.setattr(binning, "MIN_RANGE_BYTES", 1)
    monkeypatch.setattr(binning, "RANGES", 17)
    made = build(tmp_path / "b", tokenizer, files)
    assert len(made.files("bin-00/data-")) == 17
    assert documents(Rows(bins(made))) == whole


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=8).filter(sum),
    st.integers(1, 40),
    st.integers(1, 9),
)
def test_ranges_cover_all_bytes(sizes: list[int], range_bytes: int, aimed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(binning, "MIN_RANGE_BYTES", range_bytes)
        patch.setattr(binning, "RANGES", aimed)
        groups = binning.ranges([(Path(str(n)), size, "s") for n, size in enumerate(sizes)])
    covered = [
        (lines.path.name, at)
        for group in groups
        for lines in group
        for at in range(lines.begin, lines.end)
    ]
    assert covered == [(str(n), at) for n, size in enumerate(sizes) for at in range(size)]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 90), st.integers(0, 90)), max_size=30),
    st.integers(2, 32),
    st.sampled_from(get_args(Packing)),
)
def test_written_rows_hold_any_documents(
    tmp_path_factory: pytest.TempPathFactory,
    shapes: list[tuple[int, int]],
    sequence_length: int,
    packing: Packing,
) -> None:
    made = [
        Tokens(np.arange(1_000 * n, 1_000 * n + length, dtype=np.uint32), min(prompt, length))
        for n, (length, prompt) in enumerate(shapes, 1)
    ]
    lengths = np.array([length for length, _ in shapes], np.int64)
    tokens = np.concatenate([np.empty(0, np.uint32), *(document.ids for document in made)])
    folder = tmp_path_factory.mktemp("rows")
    loss_tokens = write_rows(
        folder / "data-00000-of-00001.arrow",
        Documents(
            pa.array([str(n) for n in range(len(made))], pa.string()),
            tokens,
            np.cumsum(lengths) - lengths,
            lengths,
            np.array([document.prompt for document in made], np.int64),
        ),
        pack(lengths, sequence_length, packing),
        sequence_length=sequence_length, padding=0, loss_on_source=False,
    )  # fmt: skip
    found = documents(Rows([folder]))
    for number, document in enumerate(made):
        masked = max(document.prompt - 1, 0)
        expected = [*[IGNORE_INDEX] * masked, *document.ids[masked + 1 :].tolist(), IGNORE_INDEX][
            : len(document.ids)
        ]
        assert found[str(number)] == (document.ids.tolist(), expected)
    assert loss_tokens == sum(
        label != IGNORE_INDEX for _, labels in found.values() for label in labels
    )


def test_empty_categories_and_odd_lines_are_refused(tmp_path: Path, tokenizer: Any) -> None:
    with pytest.raises(
        StageError,
        match="category 'web' has no documents to train on: source books dropped nothing",
    ):
        build(tmp_path / "a", tokenizer, {"else/part-0.jsonl": line(1, "x")})
    ledger = Ledger()
    for reason, count in (("dedup.exact", 2), ("langid.language", 1_200)):
        ledger.add("books", "en", "dropped", reason, documents=count)
    books = artifact("select", "books", {}, tmp_path)
    books = replace(books, manifest=Manifest({**books.manifest.data, "ledger": ledger.to_json()}))
    assert (
        "source books dropped langid.language 1,200, dedup.exact 2. Widen"
        in category.nothing_left("web", [books])
    )
    with pytest.raises(StageError, match=r"byte 109: not a line that select writes"):
        build(
            tmp_path / "b", tokenizer, {"web/part-0.jsonl": line(1, "x") + '{"target": "no id"}\n'}
        )


def test_golden_output(tmp_path: Path) -> None:
    """Fails when the output changes: bump the version in binning/stage.py first, then change this
    digest.
    """
    files = {
        "web/part-0.jsonl": "".join(
            line(n, text, "wool? " * (n % 3)) for n, text in enumerate(texts(40))
        )
    }
    rows = Rows(bins(build(tmp_path, train(texts(20)), files)))
    digest = hashlib.sha256(repr([rows.provenance(index) for index in range(len(rows))]).encode())
    for values in rows.batch(range(len(rows))).values():
        digest.update(values.tobytes())
    assert (STAGE.version, digest.hexdigest()[:16]) == (2, "3b77c32d968ab919")
