"""Reading and growing sentencepiece's file, compared with sentencepiece on small trained models."""

from __future__ import annotations

import functools
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from transformers import AutoTokenizer

from infra.stage import StageError
from tasks.checkpoints.base import MODEL_FILE, open_base, read_base_tokenizer
from tasks.checkpoints.foreign_tokenizers import read_sentencepiece
from tasks.checkpoints.sentencepiece_model import (
    BYTE,
    CONTROL,
    NORMAL,
    NORMALIZER,
    UNUSED,
    _fields,
    encoded_field,
    is_model,
    parse_model,
    read_model,
)
from tasks.checkpoints.tokenizer_files import read_tokenizer, size_of, write_tokenizer
from tasks.checkpoints.tokenizer_settings import read_settings
from tasks.tokenizer.measure import plain_ids
from tests.tasks.checkpoints.samples import CHINESE, ENGLISH, MIXED

LLAMA_LIKE = {
    "model_type": "bpe",
    "byte_fallback": True,
    "split_digits": True,
    "allow_whitespace_only_pieces": True,
    "remove_extra_whitespaces": False,
    "normalization_rule_name": "identity",
}
SETTINGS = {
    "llama": LLAMA_LIKE,
    "no prefix": LLAMA_LIKE | {"add_dummy_prefix": False},
    "nfkc": {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "nmt_nfkc"},
}


@functools.cache
def trained(name: str, size: int = 400) -> bytes:
    """A `.model` trained on the samples."""
    out = io.BytesIO()
    texts = [*ENGLISH * 3, *CHINESE, *["    if x:\n        y = 1  # 今天"] * 20]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=out,
        vocab_size=size,
        character_coverage=0.98,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
        **SETTINGS[name],
    )
    return out.getvalue()


def write(name: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes(trained(name))
    return folder / MODEL_FILE


@functools.cache
def both(name: str) -> tuple[sentencepiece.SentencePieceProcessor, Tokenizer]:
    with tempfile.TemporaryDirectory() as folder:
        path = write(name, Path(folder))
        return sentencepiece.SentencePieceProcessor(model_file=str(path)), read_sentencepiece(path)[
            0
        ]


def test_pieces_and_settings_are_read(tmp_path: Path) -> None:
    path = write("llama", tmp_path)
    model, reference = read_model(path), sentencepiece.SentencePieceProcessor(model_file=str(path))
    assert [piece.text for piece in model.pieces] == [
        reference.id_to_piece(i) for i in range(len(model.pieces))
    ]
    assert [piece.score for piece in model.pieces] == [
        reference.get_score(i) for i in range(len(model.pieces))
    ]
    assert [piece.kind == BYTE for piece in model.pieces] == [
        reference.is_byte(i) for i in range(len(model.pieces))
    ]
    assert (
        model.trainer.split_digits
        and model.trainer.model_type == 2
        and model.trainer.split_by_unicode_script
    )
    assert model.normalizer.add_dummy_prefix and not model.normalizer.remove_extra_whitespaces
    nfkc = parse_model(trained("nfkc"))
    assert nfkc.normalizer.precompiled_charsmap and nfkc.normalizer.remove_extra_whitespaces
    assert not nfkc.trainer.split_digits and not nfkc.trainer.allow_whitespace_only_pieces


LIKELY = st.text(st.sampled_from("今天公园花，the cat\n  sat 12😀é①"), max_size=40)


@pytest.mark.parametrize("name", ["llama", "no prefix"])
@given(text=st.one_of(st.text(max_size=40), LIKELY))
def test_the_fast_tokenizer_equals_sentencepiece(name: str, text: str) -> None:
    reference, fast = both(name)
    assert plain_ids(fast, [text]) == [reference.encode(text)]


@given(LIKELY)
def test_with_a_character_map_as_well(text: str) -> None:
    """Without combining marks: `tokenizers` maps whole grapheme clusters, sentencepiece the longest
    prefix in the map.
    """
    reference, fast = both("nfkc")
    assert plain_ids(fast, [text]) == [reference.encode(text)]


def test_a_visible_space_in_text_is_a_space_to_both() -> None:
    reference, fast = both("llama")
    for text in ("\u2581x", "a\u2581b", " \u2581", "a\u2581"):
        (ids,) = plain_ids(fast, [text])
        assert ids == reference.encode(text)
        assert fast.decode(ids) == reference.decode(ids) == text.replace("\u2581", " ")


def test_new_pieces_score_strictly_below_all_others() -> None:
    model = parse_model(trained("llama"))
    grown = parse_model(
        model.extended(
            [("今天公", NORMAL), ("<x>", CONTROL), ("<hole>", UNUSED), ("公园里", NORMAL)]
        )
    )
    assert grown.pieces[: len(model.pieces)] == model.pieces
    scores = [piece.score for piece in grown.pieces[len(model.pieces) :]]
    assert scores == sorted(set(scores), reverse=True) and scores[0] < model.lowest_score()
    assert [piece.kind for piece in grown.pieces[-4:]] == [NORMAL, CONTROL, UNUSED, NORMAL]
    assert sentencepiece.SentencePieceProcessor(model_proto=grown.blob).get_piece_size() == len(
        grown.pieces
    )
    assert parse_model(model.extended([])).pieces == model.pieces


def test_scores_fall_also_where_floats_lie_far_apart() -> None:
    huge = parse_model(parse_model(trained("llama")).extended([("q" * 9, NORMAL)]))
    model = type(huge)(
        (*huge.pieces[:-1], type(huge.pieces[0])("zz", -1e9)),
        huge.trainer,
        huge.normalizer,
        huge.blob,
    )
    scores = [
        p.score
        for p in parse_model(model.extended([(f"w{i}", NORMAL) for i in range(50)])).pieces[-50:]
    ]
    assert scores == sorted(set(scores), reverse=True) and scores[0] < -1e9


@pytest.mark.parametrize(
    "blob", [b"", b"IQ== 0\nIg== 1\n", b"\x0a\xff\xff", b"\x0b", trained("llama")[:-3]]
)
def test_other_files_are_not_models(tmp_path: Path, blob: bytes) -> None:
    (tmp_path / "x.model").write_bytes(blob)
    assert not is_model(tmp_path / "x.model")
    with pytest.raises(StageError, match="not a sentencepiece model"):
        read_model(tmp_path / "x.model")


def test_unsupported_kinds_are_refused_with_a_clear_error(tmp_path: Path) -> None:
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(ENGLISH),
        model_writer=out,
        vocab_size=60,
        model_type="unigram",
        minloglevel=2,
        user_defined_symbols=["<tool>"],
        hard_vocab_limit=False,
    )
    (tmp_path / "x.model").write_bytes(out.getvalue())
    with pytest.raises(StageError, match=r"not a BPE model.*no byte fallback.*user-defined"):
        open_base(tmp_path, tmp_path / "scratch")


def test_a_json_that_ranks_merges_differently_is_corrected(tmp_path: Path) -> None:
    path = write("llama", tmp_path / "given")
    opened = open_base(tmp_path / "given", tmp_path)
    assert (opened / MODEL_FILE).is_file() and read_base_tokenizer(opened).corrected == ()
    state = json.loads((opened / "tokenizer.json").read_text())
    state["model"]["merges"].reverse()
    state["normalizer"] = None
    (opened / "tokenizer.json").write_text(json.dumps(state))
    found = read_base_tokenizer(opened)
    assert found.corrected == ("merges", "spaces")
    texts = ENGLISH + CHINESE + MIXED
    assert plain_ids(found.tokenizer, texts) == sentencepiece.SentencePieceProcessor(
        model_file=str(path)
    ).encode(texts)
    state["model"]["vocab"]["▁"], state["model"]["vocab"]["e"] = (
        state["model"]["vocab"]["e"],
        state["model"]["vocab"]["▁"],
    )
    (opened / "tokenizer.json").write_text(json.dumps(state))
    with pytest.raises(StageError, match=r"disagree on the ids of 2 of"):
        read_base_tokenizer(opened)


@pytest.mark.parametrize("form", ["decoder", "json"])
def test_a_checkpoint_with_a_model_file_and_no_json(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "given"
    path = write("llama", folder)
    size = len(read_model(path).pieces)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    settings: dict[str, Any] = {"model_max_length": 99, "pad_token": "<pad>"}
    if form == "decoder":
        tokens = {0: "<unk>", 1: "<s>", size: "<pad>", size + 3: "<tool>"}
        settings["added_tokens_decoder"] = {
            n: {"content": t, "special": t != "<tool>"} for n, t in tokens.items()
        }
    else:
        (folder / "added_tokens.json").write_text(json.dumps({"<pad>": size, "<tool>": size + 3}))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    for _ in range(2):  # again after a kill
        opened = open_base(folder, tmp_path)
    assert (opened / "model.safetensors").read_bytes() == b"weights" and (
        opened / "config.json"
    ).is_file()
    found = read_base_tokenizer(opened)
    assert (
        found.corrected == () and found.model is not None and size_of(found.tokenizer) == size + 4
    )
    texts = ENGLISH + CHINESE + MIXED
    assert plain_ids(found.tokenizer, texts) == sentencepiece.SentencePieceProcessor(
        model_file=str(path)
    ).encode(texts)
    loaded = AutoTokenizer.from_pretrained(opened)
    assert (loaded.pad_token_id, loaded.model_max_length) == (size, 99)
    assert loaded.convert_tokens_to_ids("<tool>") == size + 3
    added = {token.content: token.special for token in loaded.added_tokens_decoder.values()}
    assert added["<pad>"] and not added["<tool>"]


def test_settings_that_name_no_token_leave_those_of_the_model_file(tmp_path: Path) -> None:
    """The first conversions of Llama have such settings."""
    write("llama", tmp_path / "given")
    (tmp_path / "given" / "tokenizer_config.json").write_text(
        '{"bos_token": "", "eos_token": {"content": ""}}'
    )
    loaded = AutoTokenizer.from_pretrained(open_base(tmp_path / "given", tmp_path))
    assert (loaded.bos_token, loaded.eos_token, loaded.unk_token) == ("<s>", "</s>", "<unk>")


def test_a_model_file_without_a_normalizers_settings_reads_as_in_sentencepiece(
    tmp_path: Path,
) -> None:
    fields = [field for field in _fields(trained("llama")) if field[0] != NORMALIZER]
    blob = b"".join(encoded_field(*field) for field in fields)
    (tmp_path / MODEL_FILE).write_bytes(blob)
    texts = ENGLISH + CHINESE + MIXED
    reference = sentencepiece.SentencePieceProcessor(model_proto=blob)
    assert plain_ids(read_sentencepiece(tmp_path / MODEL_FILE)[0], texts) == reference.encode(texts)
    grown = read_model(tmp_path / MODEL_FILE).extended([("zz", NORMAL)])
    assert (
        sentencepiece.SentencePieceProcessor(model_proto=grown).id_to_piece(len(reference)) == "zz"
    )


def test_added_tokens_at_ids_of_others_are_refused(tmp_path: Path) -> None:
    write("llama", tmp_path / "given")
    (tmp_path / "given" / "added_tokens.json").write_text('{"<pad>": 300}')
    with pytest.raises(StageError, match="'<pad>' should have id 300, but that is the id of"):
        open_base(tmp_path / "given", tmp_path)


def test_pointers_and_damaged_files_are_refused(tmp_path: Path) -> None:
    write("llama", tmp_path / "given")
    opened = open_base(tmp_path / "given", tmp_path)
    (opened / MODEL_FILE).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(StageError, match=r"tokenizer\.model is a Git LFS pointer"):
        read_base_tokenizer(opened)
    (opened / "tokenizer.json").write_text("{}")
    with pytest.raises(StageError, match=r"tokenizer\.json cannot be read as a tokenizer"):
        read_base_tokenizer(opened)
    with pytest.raises(StageError, match=r"absent is not a folder"):
        open_base(tmp_path / "absent", tmp_path)


def test_all_settings_are_inherited(tmp_path: Path) -> None:
    path = write("llama", tmp_path / "given")
    tokenizer, settings = read_sentencepiece(path)
    tokenizer.add_special_tokens(
        [AddedToken("<|im_end|>", special=True, lstrip=True, rstrip=True, normalized=False)]
    )
    tokenizer.add_tokens([AddedToken("<tool>", single_word=True, normalized=False)])
    folder = tmp_path / "base"
    write_tokenizer(
        tokenizer,
        folder,
        {**settings, "additional_special_tokens": ["<|im_end|>"], "pad_token": "<absent>"},
    )
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert "pad_token" not in config
    config |= {
        "tokenizer_class": "LlamaTokenizer",
        "legacy": False,
        "sp_model_kwargs": {},
        "auto_map": {"AutoTokenizer": "x.Y"},
        "model_max_length": 77,
        "padding_side": "left",
        "eos_token": {"content": "<|im_end|>", "__type": "AddedToken"},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}!")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tools.jinja").write_text(
        "tools: {{ messages[0].content }}"
    )
    target = tmp_path / "target"
    write_tokenizer(read_tokenizer(folder), target, read_settings(folder))
    assert all(item.is_file() for item in target.iterdir())
    loaded = AutoTokenizer.from_pretrained(target)
    assert json.loads(loaded.backend_tokenizer.to_str()) == json.loads(tokenizer.to_str())
    assert (loaded.model_max_length, loaded.padding_side, loaded.eos_token) == (
        77,
        "left",
        "<|im_end|>",
    )
    assert loaded.extra_special_tokens == ["<|im_end|>"]
    said = [{"role": "user", "content": "hi"}]
    assert loaded.apply_chat_template(said, tokenize=False) == "hi!"
    assert loaded.apply_chat_template(said, tokenize=False, chat_template="tools") == "tools: hi"
    assert read_settings(target) == {**read_settings(folder)}
    added = {token.content: token for token in loaded.added_tokens_decoder.values()}
    assert added["<|im_end|>"].lstrip and added["<|im_end|>"].rstrip and added["<tool>"].single_word
    assert not added["<tool>"].special
