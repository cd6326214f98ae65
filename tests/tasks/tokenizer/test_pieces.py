"""Growth by given pieces: each reachable with few steps, everything wrong refused with its line."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer

from infra.stage import StageError
from tasks.checkpoints.base import read_base_tokenizer
from tasks.checkpoints.foreign_tokenizers import read_sentencepiece
from tasks.checkpoints.sentencepiece_model import parse_model
from tasks.checkpoints.tokenizer_files import size_of
from tasks.tokenizer.append import undone, unreachable
from tasks.tokenizer.expand import grow
from tasks.tokenizer.given_pieces import GivenPiece, read_pieces
from tasks.tokenizer.measure import plain_ids
from tasks.tokenizer.model_file import differences, grown_model
from tasks.tokenizer.piece_account import (
    ALREADY_A_TOKEN,
    CHARACTERS,
    NOT_ONE_WORD,
    REPEATED,
    STEPS,
)
from tasks.tokenizer.piece_builder import merged
from tasks.tokenizer.pieces import add_pieces
from tasks.tokenizer.stage import STAGE, Expand, TokenizerParameters
from tasks.tokenizer.train import bytes_only
from tests.stage_harness import data_digests, run_stage
from tests.tasks.checkpoints.samples import CHINESE, ENGLISH, MIXED, sentencepiece_base
from tests.tasks.checkpoints.test_sentencepiece_model import trained, write

BASES = {
    "byte-level": grow(bytes_only(), ENGLISH, 320).tokenizer,
    "sentencepiece": sentencepiece_base(),
}
TEXTS = CHINESE + ENGLISH + MIXED


def given_(*texts: str) -> list[GivenPiece]:
    return [GivenPiece(text, f"list.jsonl:{number}") for number, text in enumerate(texts, 1)]


def jsonl(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "list.jsonl"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("family", sorted(BASES))
@settings(max_examples=60)
@given(
    st.lists(
        st.text(st.sampled_from("今天公园花好我们去theca😀"), min_size=1, max_size=6),
        min_size=1,
        max_size=12,
    ),
    st.text(st.sampled_from("今天公园花好我们去，the ca\n😀"), max_size=40),
)
def test_each_piece_is_one_token_and_the_rest_stays(
    family: str, texts: list[str], line: str
) -> None:
    base = BASES[family]
    grown, tokens, account = add_pieces(base, given_(*texts, "今天公园"))
    vocabulary = grown.get_vocab()
    assert all(vocabulary[token] == index for token, index in base.get_vocab().items())
    assert unreachable(grown, tokens) == []
    by_text = {token.text for token in tokens}
    skipped = account.skipped.total()
    assert len({*texts, "今天公园"} & by_text) == account.added == len(texts) + 1 - skipped
    assert len(tokens) == account.added + account.steps + account.characters
    (old,), (new,) = plain_ids(base, [line]), plain_ids(grown, [line])
    assert undone(new, {token.id: token.base_ids for token in tokens}) == old
    assert grown.decode(new, skip_special_tokens=False) == line


def test_as_few_steps_as_needed() -> None:
    base = BASES["sentencepiece"]
    _, tokens, account = add_pieces(base, given_("今天天气", "今天", "天气", "今天天气好"))
    assert [token.text for token in tokens] == [
        "今",
        "天",
        "气",
        "好",
        "今天",
        "天气",
        "今天天气",
        "今天天气好",
    ]
    assert (account.added, account.steps, account.characters) == (4, 0, 4)
    _, tokens, account = add_pieces(base, given_("公园里", "公园去", "公园好", "公", "园"))
    assert account.examples[STEPS] == ["公园"] and account.steps == 1, "one step serves all three"
    assert account.examples[CHARACTERS] == ["里 for 公园里", "去 for 公园去", "好 for 公园好"]


def test_order_is_length_then_the_given_one() -> None:
    _, tokens, _ = add_pieces(BASES["sentencepiece"], given_("天好", "今天", "好", "天", "今"))
    assert [token.text for token in tokens] == ["好", "天", "今", "天好", "今天"]


def test_what_is_there_or_was_given_before_is_skipped_and_counted() -> None:
    _, tokens, account = add_pieces(
        BASES["sentencepiece"], given_("th", "今", "今", " the", "\u2581cat".replace("\u2581", " "))
    )
    assert [token.text for token in tokens] == ["今"]
    assert dict(account.skipped) == {ALREADY_A_TOKEN: 3, REPEATED: 1}
    assert account.summary()["examples"][REPEATED] == ["今 (list.jsonl:3)"]
    with pytest.raises(StageError, match="none of the 1 pieces is new"):
        add_pieces(BASES["sentencepiece"], given_("th"))


def test_a_byte_level_piece_that_no_word_holds_is_skipped() -> None:
    _, tokens, account = add_pieces(BASES["byte-level"], given_("公园", "公园，好", "1234", "98"))
    assert {"公园", "98"} <= {token.text for token in tokens}
    assert account.skipped[NOT_ONE_WORD] == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"piece": ""}', "list.jsonl:2: an empty piece"),
        ('{"piece": "a\\nb"}', "list.jsonl:2: a line feed"),
        ("piece", "list.jsonl:2: not JSON"),
        ('{"text": "x"}', 'list.jsonl:2: no string under "piece"'),
        ('{"piece": 5}', 'list.jsonl:2: no string under "piece"'),
        ("[1]", "list.jsonl:2: no string"),
        (
            '{"piece": "%s"}' % ("好" * 17),
            "list.jsonl:2: the piece .* has 17 characters, `longest_piece` allows 16",
        ),
        ('{"piece": "\\ud800"}', "list.jsonl:2: .* half of a surrogate pair"),
        ('{"piece": "a\\u0000"}', "a NUL"),
    ],
)
def test_what_cannot_be_a_piece_is_refused_with_its_line(
    tmp_path: Path, line: str, words: str
) -> None:
    with pytest.raises(StageError, match=words):
        read_pieces(jsonl(tmp_path, '{"piece": "今"}', line), 16)


def test_all_bad_lines_are_told_at_once_up_to_a_limit(tmp_path: Path) -> None:
    bad = [
        "piece",
        '{"piece": 5}',
        '{"piece": "今"}',
        '{"piece": ""}',
        '{"piece": "%s"}' % ("好" * 17),
    ]
    with pytest.raises(StageError) as refused:
        read_pieces(jsonl(tmp_path, *bad), 16)
    assert [line.split(": ")[0] for line in str(refused.value).split("\n")] == [
        f"list.jsonl:{number}" for number in (1, 2, 4, 5)
    ]
    with pytest.raises(StageError, match=r"list\.jsonl:20: .*\n\.\.\. and 30 more$"):
        read_pieces(jsonl(tmp_path, *["no"] * 50), 16)


def test_all_pieces_with_special_tokens_are_told_at_once() -> None:
    base = Tokenizer.from_str(BASES["sentencepiece"].to_str())
    base.add_special_tokens([AddedToken("<|sep|>", special=True)])
    with pytest.raises(StageError, match=r"list.jsonl:1: .*\nlist.jsonl:3: "):
        add_pieces(base, given_("a<|sep|>", "今", "<|sep|>b"))


def test_undecodable_and_empty_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.jsonl").write_bytes(b'{"piece": "\xff"}\n')
    with pytest.raises(StageError, match=r"bytes.jsonl:1: not JSON"):
        read_pieces(tmp_path / "bytes.jsonl", 16)
    (tmp_path / "cut.model").write_bytes(trained("llama")[:2000])
    with pytest.raises(
        StageError,
        match=r"cut.model is not a sentencepiece model, or is truncated .*download it again",
    ):
        read_pieces(tmp_path / "cut.model", 16)
    with pytest.raises(StageError, match="no pieces in it"):
        read_pieces(jsonl(tmp_path), 16)


@pytest.mark.parametrize("family", sorted(BASES))
def test_a_special_token_inside_a_piece_is_refused(family: str) -> None:
    base = Tokenizer.from_str(BASES[family].to_str())
    base.add_special_tokens([AddedToken("<|sep|>", special=True)])
    with pytest.raises(
        StageError, match=r"list.jsonl:1: the piece 'a<|sep|>' holds one of the base's special"
    ):
        add_pieces(base, given_("a<|sep|>", "今"))
    _, tokens, account = add_pieces(
        base, [GivenPiece("<|sep|>", "x.model: piece 3", own=False), *given_("今")]
    )
    assert account.skipped["holds a special token"] == 1 and "今" in {
        token.text for token in tokens
    }


def test_merging_takes_the_best_rank_and_of_equals_the_leftmost() -> None:
    assert merged(list("aaa"), {"aa": 0}) == ["aa", "a"]
    assert merged(list("abc"), {"ab": 1, "bc": 0, "abc": 2}) == ["abc"]


@pytest.mark.parametrize("method", ["pieces", "continue"])
def test_sentencepiece_on_the_grown_model_agrees(tmp_path: Path, method: str) -> None:
    path = write("llama", tmp_path)
    base, model = read_sentencepiece(path)[0], parse_model(trained("llama"))
    if method == "pieces":
        words = {
            text[at : at + length]
            for text in CHINESE + ENGLISH
            for at in range(9)
            for length in (2, 3, 5)
        }
        grown, tokens, _ = add_pieces(base, given_(*sorted(words)))
    else:
        grown, tokens, _, _ = grow(base, TEXTS * 2, size_of(base) + 80)
    grown.add_special_tokens([AddedToken("<|end|>", special=True)])
    blob = grown_model(model, grown)
    rng = random.Random(0)
    noise = [
        "".join(rng.choice("今天公园花好我们去，the cat\n  12😀") for _ in range(60))
        for _ in range(500)
    ]
    assert differences(blob, grown, [*TEXTS, *noise]) == []
    reference = sentencepiece.SentencePieceProcessor(model_proto=blob)
    assert [reference.id_to_piece(token.id) for token in tokens] == [
        token.token for token in tokens
    ]
    assert reference.is_control(size_of(grown) - 1)
    assert reference.get_piece_size() == size_of(grown)


def test_no_new_piece_opens_a_base_piece_that_was_out_of_reach() -> None:
    """Base `abcd` is unreachable (the base has no split of it); a new `abc` would open it for
    sentencepiece.
    """
    model = parse_model(trained("llama"))
    blob = model.extended([("kqz", 1), ("zz", 1)])
    base = _fast(blob)
    _, tokens, account = add_pieces(base, given_("kq", "qz", "kzz", "今天天气"))
    assert [token.text for token in tokens if token.text in ("kq", "qz")] == []
    assert account.skipped["would change how the base segments text"] == 3
    learned = grow(base, ["kqz kqz 今天公园 kqzz"] * 5, size_of(base) + 1).tokens
    assert not {"kq", "qz", "kqz"} & {token.text for token in learned}


def _fast(blob: bytes) -> Tokenizer:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "x.model").write_bytes(blob)
        return read_sentencepiece(Path(folder) / "x.model")[0]


def test_the_stage_writes_tokenizer_and_model_file(tmp_path: Path) -> None:
    base = write("llama", tmp_path / "base").parent
    pieces = jsonl(
        tmp_path, *(json.dumps({"piece": piece}) for piece in ("今天天气", "公园里", "今"))
    )
    parameters = TokenizerParameters(
        base=str(base), expand={"method": "pieces", "pieces": str(pieces)}
    )
    made = run_stage(STAGE, parameters, tmp_path=tmp_path)
    again = run_stage(STAGE, parameters, tmp_path=tmp_path, force=True)
    assert data_digests(made) == data_digests(again)
    reference = sentencepiece.SentencePieceProcessor(
        model_file=str(made.folder("tokenizer") / "tokenizer.model")
    )
    rows = json.loads(made.path("new_tokens.json").read_text())
    assert [reference.id_to_piece(row["id"]) for row in rows] == [row["token"] for row in rows]
    assert {"今天天气", "公园里"} <= {row["text"] for row in rows}
    assert (
        made.statistics["pieces"]["given"] == 3
        and made.statistics["sentencepiece_differences"] == 0
    )
    assert made.statistics["splitting_rules"]["from"] == "trainer_spec of tokenizer.model"
    assert read_base_tokenizer(made.folder("tokenizer")).corrected == (), (
        "a grown folder is a sound base"
    )
    assert json.loads(made.path("report.json").read_text())["given_pieces"]["skipped"] == {
        ALREADY_A_TOKEN: 1
    }


def test_contradicting_parameters_are_refused() -> None:
    for stated, words in (
        ({"method": "pieces"}, "needs `pieces: FILE`"),
        ({"method": "pieces", "pieces": "x", "size": 400}, "drop `size`"),
        ({}, "needs a `size`"),
        ({"size": 400, "pieces": "x"}, "`method: pieces` only"),
    ):
        with pytest.raises(ValueError, match=words):
            Expand(**stated)
    assert Expand(size="knee").maximum == 100_000


def test_a_long_list(tmp_path: Path) -> None:
    """A million in tests/benchmarks/tokenizer_proofs.py."""
    rng = random.Random(0)
    letters = [chr(0x4E00 + number) for number in range(500)]
    texts = {"".join(rng.choices(letters, k=rng.choice((2, 2, 3)))) for _ in range(50_000)}
    path = jsonl(tmp_path, *(json.dumps({"piece": text}) for text in sorted(texts)))
    grown, tokens, account = add_pieces(BASES["sentencepiece"], read_pieces(path, 16))
    assert (
        account.added == len(texts)
        and len(tokens) == len(texts) + account.steps + account.characters
    )
    assert unreachable(grown, tokens[-2000:]) == []
