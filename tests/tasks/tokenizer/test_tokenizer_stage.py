"""Stage tokenizer end to end on a small store."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pydantic
import pytest
from transformers import AutoTokenizer

from infra.stage import StageError
from infra.store import Artifact
from tasks.checkpoints.base import open_base
from tasks.checkpoints.fast_tokenizers import byte_level_content
from tasks.checkpoints.tokenizer_files import write_tokenizer
from tasks.tokenizer.stage import STAGE, TokenizerParameters
from tasks.tokenizer.texts import TextFile, training_files, training_texts
from tasks.tokenizer.train import SETTINGS, bytes_only
from tests.stage_harness import data_digests, run_stage
from tests.tasks.checkpoints.samples import CHINESE, ENGLISH, select, write_llama2c

FILES = {
    "web-zh/part-00000.jsonl": CHINESE,
    "heldout/web-zh/part-00000.jsonl": ["今天我们去看花。"],
    "web-en/part-00000.jsonl": ENGLISH,
}


def test_a_trained_tokenizer(tmp_path: Path) -> None:
    made = run_stage(
        STAGE,
        TokenizerParameters(train={"size": 400}),
        {"select": select(FILES, tmp_path)},
        tmp_path=tmp_path,
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
    made = run_stage(
        STAGE, TokenizerParameters(base=str(write_llama2c(tmp_path / "base"))), tmp_path=tmp_path
    )
    assert made.statistics["size"] == made.statistics["base_size"]
    assert made.statistics["new_tokens"] == 0


def test_a_checkpoint_with_tokenizer_json_alone_keeps_its_special_tokens(tmp_path: Path) -> None:
    """`config.json` knows them by id; without them documents could not be told apart. Settings that
    leave them out mean it.
    """
    folder = open_base(write_llama2c(tmp_path / "given"), tmp_path)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": [2, 1]}))
    made = run_stage(STAGE, TokenizerParameters(base=str(folder)), tmp_path=tmp_path)
    loaded = AutoTokenizer.from_pretrained(made.folder("tokenizer"))
    assert (loaded.bos_token, loaded.eos_token) == ("<s>", "</s>")
    (folder / "tokenizer_config.json").write_text('{"eos_token": "</s>", "bos_token": null}')
    made = run_stage(STAGE, TokenizerParameters(base=str(folder)), name="stated", tmp_path=tmp_path)
    loaded = AutoTokenizer.from_pretrained(made.folder("tokenizer"))
    assert (loaded.bos_token, loaded.eos_token) == (None, "</s>")


def test_a_tokenizer_artifact_may_be_the_base(tmp_path: Path) -> None:
    texts = select(FILES, tmp_path)
    first = run_stage(
        STAGE, TokenizerParameters(train={"size": 400}), {"select": texts}, tmp_path=tmp_path
    )
    parameters = TokenizerParameters(
        base="artifact:toy/tokenizer/main@latest", expand={"size": 420}
    )
    second = run_stage(
        STAGE, parameters, {"select": texts, "base": first}, name="grown", tmp_path=tmp_path
    )
    assert (second.statistics["base_size"], second.statistics["size"]) == (400, 420)


def numbered(path: Path, count: int, source: str) -> TextFile:
    """A file of `count` documents, each the number of its line."""
    path.write_text("".join(json.dumps({"target": str(i)}) + "\n" for i in range(count)))
    return TextFile(path, source, "web-zh", False)


def test_sampling_reads_an_even_share_of_every_weight(tmp_path: Path) -> None:
    files = {
        1: [numbered(tmp_path / "a.jsonl", 1000, "a")],
        3: [numbered(tmp_path / "b.jsonl", 200, "b")],
    }
    size = sum(Path(file.path).stat().st_size for some in files.values() for file in some)
    share = {
        weight: [int(text) for text in texts]
        for weight, texts in training_texts(files, size // 4).items()
    }
    assert 248 <= len(share[1]) <= 250 and 49 <= len(share[3]) <= 50
    assert all(after - before <= 5 for found in share.values() for before, after in pairwise(found))
    assert [len(list(texts)) for texts in training_texts(files, 10**9).values()] == [1000, 200]


def test_only_the_named_categories_are_learned_from(tmp_path: Path) -> None:
    parameters = TokenizerParameters(train={"size": 300, "from": ["web-en"]})
    assert parameters.learn_from() == {"web-en": 1}
    english = parameters.model_copy(update={"categories": ("web-en",)})
    made = run_stage(STAGE, english, {"select": select(FILES, tmp_path)}, tmp_path=tmp_path)
    tokens = AutoTokenizer.from_pretrained(made.folder("tokenizer")).get_vocab()
    assert not any(
        byte_level_content(token).decode(errors="ignore") > "\u4e00"
        for token in tokens
        if token[0] != "<"
    )
    assert set(made.statistics["categories"]) == {"web-en", "web-zh"}, "measured on all"


def test_files_to_learn_from() -> None:
    files = [
        TextFile(Path(), *which)
        for which in (
            ("a", "zh", False),
            ("a", "en", False),
            ("a", "zh", True),
            ("b", "zh", False),
            ("c", "zh", False),
        )
    ]
    assert training_files(files, ("zh",), {}) == {1: [files[0], files[3], files[4]]}
    assert training_files(files, (), {}) == {1: [files[0], files[1], files[3], files[4]]}
    weighed = training_files(files, ("zh",), {"a": {"zh": 4}, "b": {"zh": 1}})
    assert weighed == {4: [files[0]], 1: [files[3]]}, "what has no weight is not learned from"


WEB, BOOKS = CHINESE, ["花园里的猫，猫和人。", "很久很久以前有一只猫。"] * 4 + ENGLISH


def two_sources(tmp_path: Path, web_times: int = 1) -> list[Artifact]:
    web = {f"web-zh/part-{number:05}.jsonl": WEB for number in range(web_times)}
    return [
        select(web, tmp_path, "web"),
        select({"web-zh/part-00000.jsonl": BOOKS}, tmp_path, "books"),
    ]


@pytest.mark.parametrize("size", [330, "knee"])
@pytest.mark.parametrize("base", ["sentencepiece", "byte-level"])
def test_a_weight_counts_a_source_as_though_it_were_there_so_often(
    tmp_path: Path, base: str, size: int | str
) -> None:
    """For both families, of two sources that feed one category."""
    folder = tmp_path / "base"
    if base == "sentencepiece":
        write_llama2c(folder)
    else:
        write_tokenizer(bytes_only(), folder, SETTINGS)
    expand = {"size": size, "scripts": ["Han"]} | ({"maximum": 30} if size == "knee" else {})
    feeds = {"web": ["web-zh"], "books": ["web-zh"]}

    def digests(from_: object, web_times: int = 1) -> dict[str, str]:
        stated = TokenizerParameters(
            base=str(folder), expand={**expand, "from": from_}
        ).with_shares(feeds)
        made = run_stage(
            STAGE,
            stated,
            {"select": two_sources(tmp_path, web_times)},
            tmp_path=tmp_path,
            force=True,
        )
        return {
            name: digest for name, digest in data_digests(made).items() if name != "report.json"
        }

    weighed = digests({"web": 3, "books": 1})
    assert weighed == digests(["web", "books"], web_times=3) == digests({"books": 2, "web": 6})
    assert weighed != digests(["web", "books"])
    assert digests({"web": 7, "books": 7}) == digests(["web", "books"])


def test_golden_output(tmp_path: Path) -> None:
    """Fails when the output changes: bump the version in tokenizer/stage.py first, then change
    this digest.
    """
    parameters = TokenizerParameters(
        base=str(write_llama2c(tmp_path / "base")), expand={"size": 360}
    )
    made = run_stage(STAGE, parameters, {"select": select(FILES, tmp_path)}, tmp_path=tmp_path)
    digests = data_digests(made)
    found = (digests["new_tokens.json"][:16], digests["tokenizer/tokenizer.json"][:16])
    assert (STAGE.version, found) == (3, ("58df14ed04f3b007", "6a88f54c21c0d382"))


def test_growth_without_text_and_contradicting_parameters_are_refused(tmp_path: Path) -> None:
    base = write_llama2c(tmp_path / "base")
    with pytest.raises(StageError, match="no text to learn"):
        run_stage(
            STAGE, TokenizerParameters(base=str(base), expand={"size": 400}), tmp_path=tmp_path
        )
    with pytest.raises(pydantic.ValidationError, match="starts from scratch"):
        TokenizerParameters(base="x", train={"size": 400})
    with pytest.raises(pydantic.ValidationError, match="give a `base`"):
        TokenizerParameters()
