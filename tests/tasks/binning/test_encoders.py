"""gigatoken against the reference: equal ids, or a reason why it is not used."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE

from infra.remote.access import Access
from infra.stage import StageError
from tasks.binning import choose, fast, probe, probe_texts, verdicts
from tasks.binning import run as binning
from tasks.binning.encode import Encoded, Reference
from tasks.binning.fast import Fast, Unsupported, accepted
from tasks.binning.stage import BinningParameters
from tasks.checkpoints.base import open_base
from tasks.documents.tokenize import DocumentTokenizer
from tests.stage_harness import data_digests
from tests.tasks.binning.inputs import WORDS, line, tokenizer_files, train
from tests.tasks.binning.test_binning import bins, build, texts


@pytest.fixture(autouse=True)
def short_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The probe's longest words and all of Unicode cost seconds."""
    planes = list(itertools.islice(probe_texts._planes(), 0, None, 37))
    monkeypatch.setattr(probe_texts, "LONG_WORD", 20_000)
    monkeypatch.setattr(probe_texts, "_planes", lambda: planes)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def sentencepiece_style() -> Tokenizer:
    """Byte fallback, Prepend and Replace, merges of equal texts by two ways."""
    pieces = ["▁", *"abcdefghijklmnopqrstuvwxyz中草原"]
    joined = ["ab", "bc", "abc", "aa", "aaa", "▁a", "▁▁", "▁▁▁▁", "草原", "▁ab", "wo", "ol", "wool"]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces, *joined]
    merges = [
        ("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc"), ("a", "a"), ("aa", "a"), ("a", "aa"),
        ("▁", "a"), ("▁", "▁"), ("▁▁", "▁▁"), ("草", "原"), ("▁a", "b"), ("▁", "ab"),
        ("w", "o"), ("o", "l"), ("wo", "ol"),
    ]  # fmt: skip
    vocabulary = {name: number for number, name in enumerate(names)}
    model = BPE(vocabulary, merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


def folder_of(tokenizer: Tokenizer, path: Path, **config: Any) -> Path:
    for name, content in tokenizer_files(tokenizer, **config).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    return path / "tokenizer"


def compared(folder: Path) -> verdicts.Verdict:
    return probe.compare_texts(folder, DocumentTokenizer(folder), folder.parent / "kept")


def fast_of(tokenizer: DocumentTokenizer) -> Fast:
    return Fast(accepted(tokenizer), lambda: Reference(tokenizer))


MADE = {"byte level": lambda: train(texts(200)), "sentencepiece style": sentencepiece_style}


@pytest.mark.parametrize("kind", MADE)
def test_both_families_are_shown_to_be_equal(kind: str, tmp_path: Path) -> None:
    folder = folder_of(MADE[kind](), tmp_path)
    assert compared(folder) == verdicts.Verdict()
    tokenizer = DocumentTokenizer(folder)
    given = [
        ("", ""),
        ("", "a </s> <s>"),
        ("wool? ", "grass"),
        ("草", "原 \U0001fae9 x"),
        ("a", ""),
    ]
    given += [
        ("草", "原 \U0001fae9 x"),
        ("", " ".join(WORDS)),
        ("😀", "é"),
        ("  ", "  aaab"),
        ("</s>", "<s>"),
    ]
    expected, found = (made(tokenizer).encode(given) for made in (Reference, fast_of))
    for ours, theirs in zip(expected, found, strict=True):
        assert ours.tolist() == theirs.tolist()
    assert not {1, 2} & set(found.ids.tolist())


def test_a_verdict_is_kept_for_this_tokenizer_and_these_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (folder_of(train(texts(n)), tmp_path / str(n)) for n in (40, 80))
    access = Access(cache=tmp_path / "cache" / "objects")
    cache = verdicts.folder_of(access)
    monkeypatch.setattr(probe, "probe_texts", lambda state: [("", "grass")])

    def verdict(folder: Path) -> verdicts.Verdict:
        return probe.compare_texts(folder, DocumentTokenizer(folder), cache)

    parameters = BinningParameters(sequence_length=16)
    asked = BinningParameters(sequence_length=16, tokenize="gigatoken")
    assert verdicts.kept(one, cache) is None
    assert "if a probe shows" in verdicts.foreseen(parameters, one, access)
    assert verdict(one) == verdicts.Verdict()
    monkeypatch.setattr(probe, "_compare_texts", lambda _: verdicts.Verdict("again"))
    assert verdict(one) == verdicts.Verdict() and verdict(other).reason == "again"
    assert verdicts.foreseen(parameters, one, access).startswith("gigatoken: a probe found")
    assert verdicts.foreseen(parameters, other, access) == "tokenizers, because again"
    assert verdicts.foreseen(asked, other, access).startswith("refused: again")
    assert "refused" in verdicts.foreseen(asked, None, access)
    (file,) = (path for path in cache.glob("*.json") if "again" not in path.read_text())
    file.write_text('{"reason": ')  # the machine went down
    assert verdict(one).reason == "again"
    monkeypatch.setattr(verdicts, "_version", lambda library: "0.99")
    assert verdicts.kept(one, cache) is None


@pytest.mark.real
@pytest.mark.parametrize("name", ["llama2-32000", "llama3-128k"])
def test_known_tokenizers_are_shown_to_be_equal(
    name: str, real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_texts, "_pieces", lambda state: [])
    monkeypatch.setattr(probe_texts, "_planes", list)
    folder = open_base(real_data / "tokenizers" / name, tmp_path)
    assert compared(folder) == verdicts.Verdict()


def changed(change: Any) -> Tokenizer:
    state = json.loads(train(texts(50)).to_str())
    change(state)
    return Tokenizer.from_str(json.dumps(state))


ODD = {
    "dropout 0.5": lambda state: state["model"].update(dropout=0.5),
    "whole words only": lambda state: state["added_tokens"].append(
        {**state["added_tokens"][0], "id": 999, "content": "zz", "special": False,
         "single_word": True}
    ),
    "or by none": lambda state: state["pre_tokenizer"].update(use_regex=False),
    r"not splits before one ByteLevel \(none\)": lambda state: state.update(pre_tokenizer=None),
}  # fmt: skip


@pytest.mark.parametrize("reason", ODD)
def test_what_it_ignores_is_refused(reason: str, tmp_path: Path) -> None:
    folder = folder_of(changed(ODD[reason]), tmp_path)
    with pytest.raises(Unsupported, match=reason):
        fast_of(DocumentTokenizer(folder))
    assert compared(folder).reason


def test_other_splits_are_refused_or_shown(tmp_path: Path) -> None:
    tokenizer = train(texts(50))
    split = pre_tokenizers.Split(",", "removed")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    assert compared(folder_of(tokenizer, tmp_path)).reason


def test_memory_is_bounded_by_a_new_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = fast_of(DocumentTokenizer(folder_of(train(texts(50)), tmp_path)))
    first, before = encoder._backend, encoder.encode([("", "grass and wool")])
    monkeypatch.setattr(fast, "CACHE_BYTES", -1)
    after = encoder.encode([("", "grass and wool")])
    assert encoder._backend is not first
    assert before.ids.tolist() == after.ids.tolist()


def long_enough(count: int) -> dict[str, str]:
    return {"web/part-0.jsonl": "".join(line(n, t) for n, t in enumerate(texts(count)))}


def test_auto_takes_the_equal_encoder_for_large_input_and_writes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, files = train(texts(200)), long_enough(300)
    slow = build(tmp_path / "a", tokenizer, files)
    assert slow.statistics["tokenize"] == {
        "backend": "tokenizers", "compared": 0, "reason": "less than 16 MiB of documents",
    }  # fmt: skip
    monkeypatch.setattr(choose, "SMALL_BYTES", 1)
    made = build(tmp_path / "b", tokenizer, files)
    found = made.statistics["tokenize"]
    assert (found["backend"], found["reason"]) == ("gigatoken", "") and found["compared"] > 250
    first, second = (
        {name: digest for name, digest in data_digests(one).items() if name.endswith(".arrow")}
        for one in (slow, made)
    )
    assert first == second and len(bins(made)) == 3


class Wrong(Fast):
    """Gives one word in place of another, alone or only among others."""

    alone = True

    def encode(self, given: Any) -> Encoded:
        found = super().encode(given)
        if self.alone or len(given) > 256:
            spoilt = np.array(found.ids)
            if any("altitude" in text for _, text in given):
                spoilt[0] += 1
            return found._replace(ids=spoilt)
        return found


def test_a_difference_on_a_document_leaves_the_category_to_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, files = train(texts(200)), long_enough(300)
    monkeypatch.setattr(choose, "SMALL_BYTES", 1)
    monkeypatch.setattr(probe, "Fast", Wrong)
    monkeypatch.setattr(binning, "Fast", Wrong)
    monkeypatch.setattr(probe, "probe_texts", lambda state: [("", "grass")])
    made = build(tmp_path / "a", tokenizer, files)
    found = made.statistics["tokenize"]
    assert (found["backend"], found["reason"]) == ("tokenizers", "ids differ on a document")
    assert found["example"]["expected"] != found["example"]["found"] and found["example"]["text"]
    with pytest.raises(StageError, match=r"ids differ on a document.*set `tokenize: auto`"):
        build(tmp_path / "b", tokenizer, files, tokenize="gigatoken")
    monkeypatch.setattr(Wrong, "alone", False)
    with pytest.raises(
        StageError, match="other ids among others than alone, encoded by gigatoken; set"
    ):
        build(tmp_path / "c", tokenizer, files)
