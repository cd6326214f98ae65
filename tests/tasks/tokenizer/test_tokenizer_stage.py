"""Stage tokenizer end to end on a small store."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pydantic
import pytest
from transformers import AutoTokenizer

from infra.stage import StageError
from tasks.checkpoints.tokenizer_files import byte_level_content
from tasks.tokenizer.stage import STAGE, TokenizerParameters
from tests.stage_harness import data_digests, run_stage
from tests.tasks.checkpoints.samples import CHINESE, ENGLISH, select, write_llama2c

FILES = {
    "web-zh/part-00000.jsonl": CHINESE,
    "heldout/web-zh/part-00000.jsonl": ["今天我们去看花。"],
    "web-en/part-00000.jsonl": ENGLISH,
}


def test_a_trained_tokenizer(tmp_path: Path) -> None:
    made = run_stage(
        STAGE, TokenizerParameters(train={"size": 400}), {"select": select(FILES, tmp_path)}, tmp_path=tmp_path
    )
    tokenizer = AutoTokenizer.from_pretrained(made.folder("tokenizer"))
    assert len(tokenizer) == made.statistics["size"] == 400
    assert tokenizer("天气")["input_ids"][0] == tokenizer.bos_token_id
    assert (tokenizer.bos_token, tokenizer.pad_token) == ("<|begin_of_text|>", "<|pad|>")
    assert json.loads(made.path("new_tokens.json").read_text()) == []
    assert made.statistics["unreachable"] == made.statistics["lossy_round_trips"] == 0


def test_a_grown_llama2c_tokenizer(tmp_path: Path) -> None:
    base = write_llama2c(tmp_path / "base")
    parameters = TokenizerParameters(base=str(base), expand={"size": 360, "from": ["zh-web"]})
    inputs = {"select": select(FILES, tmp_path)}
    made = run_stage(STAGE, parameters, inputs, tmp_path=tmp_path)
    again = run_stage(STAGE, parameters, inputs, tmp_path=tmp_path, force=True)
    assert data_digests(made) == data_digests(again)
    rows = json.loads(made.path("new_tokens.json").read_text())
    assert [row["id"] for row in rows] == list(range(made.statistics["base_size"], 360))
    assert set(rows[0]) == {"id", "token", "text", "base_ids"}
    zh = made.statistics["categories"]["web-zh"]
    assert zh["documents"] == 1, "measured on the held-out text where there is some"
    assert zh["tokens_per_character_after"] < 0.6 * zh["tokens_per_character_before"]
    assert made.statistics["coarsening_violations"] == 0
    loaded = AutoTokenizer.from_pretrained(made.folder("tokenizer"))
    assert loaded.decode(loaded("公园 cat")["input_ids"], skip_special_tokens=True) == "公园 cat"


def test_the_base_as_it_is(tmp_path: Path) -> None:
    made = run_stage(STAGE, TokenizerParameters(base=str(write_llama2c(tmp_path / "base"))), tmp_path=tmp_path)
    assert made.statistics["size"] == made.statistics["base_size"]
    assert made.statistics["new_tokens"] == 0


def test_a_tokenizer_artifact_may_be_the_base(tmp_path: Path) -> None:
    texts = select(FILES, tmp_path)
    first = run_stage(STAGE, TokenizerParameters(train={"size": 400}), {"select": texts}, tmp_path=tmp_path)
    parameters = TokenizerParameters(base="artifact:toy/tokenizer/main@latest", expand={"size": 420})
    second = run_stage(STAGE, parameters, {"select": texts, "base": first}, name="grown", tmp_path=tmp_path)
    assert (second.statistics["base_size"], second.statistics["size"]) == (400, 420)


def test_sampling_reads_an_even_share(tmp_path: Path) -> None:
    from tasks.tokenizer.texts import TextFile, training_texts

    path = tmp_path / "part-00000.jsonl"
    path.write_text("".join(json.dumps({"target": str(i)}) + "\n" for i in range(1000)))
    files = [TextFile(str(path), "web-zh", False)]
    share = list(training_texts(files, path.stat().st_size // 4))
    assert 248 <= len(share) <= 250
    assert max(int(b) - int(a) for a, b in pairwise(share)) <= 5
    assert len(list(training_texts(files, 10**9))) == 1000


def test_only_the_named_categories_are_learned_from(tmp_path: Path) -> None:
    parameters = TokenizerParameters(train={"size": 300, "from": ["web-en"]})
    assert parameters.learn_from() == ("web-en",)
    english = parameters.model_copy(update={"categories": ("web-en",)})
    made = run_stage(STAGE, english, {"select": select(FILES, tmp_path)}, tmp_path=tmp_path)
    tokens = AutoTokenizer.from_pretrained(made.folder("tokenizer")).get_vocab()
    assert not any(byte_level_content(token).decode(errors="ignore") > "\u4e00" for token in tokens if token[0] != "<")
    assert set(made.statistics["categories"]) == {"web-en", "web-zh"}, "measured on all"


def test_golden_output(tmp_path: Path) -> None:
    """Fails when the output changes: then bump the version in tokenizer/stage.py, and only then this digest."""
    parameters = TokenizerParameters(base=str(write_llama2c(tmp_path / "base")), expand={"size": 360})
    made = run_stage(STAGE, parameters, {"select": select(FILES, tmp_path)}, tmp_path=tmp_path)
    digests = data_digests(made)
    found = (digests["new_tokens.json"][:16], digests["tokenizer/tokenizer.json"][:16])
    assert (STAGE.version, found) == (2, ("58df14ed04f3b007", "6a88f54c21c0d382"))


def test_growth_without_text_and_contradicting_parameters_are_refused(tmp_path: Path) -> None:
    base = write_llama2c(tmp_path / "base")
    with pytest.raises(StageError, match="no text to learn"):
        run_stage(STAGE, TokenizerParameters(base=str(base), expand={"size": 400}), tmp_path=tmp_path)
    with pytest.raises(pydantic.ValidationError, match="starts from nothing"):
        TokenizerParameters(base="x", train={"size": 400})
    with pytest.raises(pydantic.ValidationError, match="state a `base`"):
        TokenizerParameters()
