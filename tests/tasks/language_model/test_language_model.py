"""Stage language_model: what it trains on, what it writes, determinism, and errors."""

import json
from pathlib import Path
from typing import Any

import kenlm
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from infra.engine import EngineConfig, start
from infra.stage import StageError
from infra.store import Artifact
from infra.store.identity import version_of
from tasks.documents.edits import COLUMN, Edit, column_of
from tasks.documents.selected import held_out_hash
from tasks.language_model import lmplz, pieces
from tasks.language_model.stage import STAGE, LanguageModelParameters
from tests.stage_harness import data_digests, run_stage
from tests.tables import artifact, documents
from tests.tasks.language_model.corpora import made_up

SMALL = LanguageModelParameters(language="xx", vocabulary=60, order=3)


def source(
    folder: Path, name: str, parts: list[list[str]], languages: list[list[str]] | None = None
) -> list[Artifact]:
    """Documents, and a langid artifact if languages are given."""
    texts = documents(folder, name, parts)
    if languages is None:
        return [texts]
    tables = {
        f"part-{index:05d}.parquet": pa.table({"language": pa.array(part, pa.string())})
        for index, part in enumerate(languages)
    }
    return [texts, artifact(folder, "langid", name, tables)]


def train(
    tmp_path: Path, texts: list[str], parameters: LanguageModelParameters = SMALL, **more: Any
) -> Artifact:
    """Run the stage on one source without languages."""
    given = source(tmp_path, "wiki", [texts[:50], [], texts[50:]])
    return run_stage(
        STAGE, parameters, {"documents": given}, parameters.language, tmp_path=tmp_path, **more
    )


def test_writes_a_unit_of_models_that_load(tmp_path: Path) -> None:
    built = train(tmp_path, made_up(120))
    assert built.files() == ["lm.arpa", "sp.model", "unit.json"]
    model = sentencepiece.SentencePieceProcessor(model_file=str(built.path("sp.model")))
    assert len(model) == 60
    assert kenlm.Model(str(built.path("lm.arpa"))).order == 3
    unit = json.loads(built.path("unit.json").read_text())
    digests = data_digests(built)
    assert unit["normaliser"] == "cc_net/1"
    assert (unit["sentencepiece_sha256"], unit["lm_sha256"]) == (
        digests["sp.model"],
        digests["lm.arpa"],
    )
    assert unit["unit"] == built.statistics["unit"] and len(unit["unit"]) == 12
    statistics = built.statistics
    assert statistics["sentencepiece"]["documents"] == statistics["ngrams"]["documents"] == 120
    assert not statistics["sentencepiece"]["clipped"]
    assert unit["training_tokens"] == statistics["ngrams"]["tokens"] > 1_000


def test_equal_bytes_for_other_workers_threads_and_part_sizes(tmp_path: Path) -> None:
    first = train(tmp_path / "one", made_up(120))
    with start(EngineConfig(kind="processes", workers=2)) as engine:
        second = train(tmp_path / "two", made_up(120), engine=engine, cpu_threads=2)
    again = source(tmp_path / "parts", "wiki", [made_up(120)])
    three = run_stage(STAGE, SMALL, {"documents": again}, "xx", tmp_path=tmp_path / "three")
    assert data_digests(first) == data_digests(second) == data_digests(three)


def test_reads_only_the_language_and_no_more_than_the_limits(tmp_path: Path) -> None:
    texts = made_up(60)
    mixed = [text if index % 2 else f"zzz {index}" for index, text in enumerate(texts)]
    given, langid = source(
        tmp_path, "web", [mixed], [["xx" if index % 2 else "yy" for index in range(60)]]
    )
    plain = source(tmp_path, "wiki", [texts])[0]
    inputs = {"documents": [given, plain], "langid": [langid]}
    built = run_stage(STAGE, SMALL, inputs, "xx", tmp_path=tmp_path)
    assert built.statistics["sentencepiece"]["documents"] == 90
    assert "z" not in built.path("lm.arpa").read_text(encoding="utf-8")
    few = SMALL.model_copy(
        update={"documents": 40, "sentencepiece_documents": 35, "sentencepiece_characters": 2_000}
    )
    limited = run_stage(STAGE, few, inputs, "xx", tmp_path=tmp_path)
    assert limited.statistics["ngrams"]["documents"] == 40
    assert limited.statistics["sentencepiece"]["characters"] == 2_000


def test_text_that_may_be_held_out_is_not_read(tmp_path: Path) -> None:
    """If a reference source is also training data, the model must not learn held-out documents."""
    texts = made_up(60)
    trained_on, plain = source(tmp_path, "web", [texts])[0], source(tmp_path, "wiki", [texts])[0]
    ids = pq.read_table(trained_on.path("part-00000.parquet"))["id"].to_pylist()
    kept = sum(held_out_hash(id_) >= 0.5 * 2**64 for id_ in ids)
    half = SMALL.model_copy(update={"held_out": {"web": 0.5}})
    built = run_stage(STAGE, half, {"documents": [trained_on, plain]}, "xx", tmp_path=tmp_path)
    assert 0 < kept < 60 and built.statistics["ngrams"]["documents"] == kept + 60


def test_text_is_held_out_of_sources_with_row_groups_of_other_languages_only(
    tmp_path: Path,
) -> None:
    documents_, langid = source(
        tmp_path, "web", [made_up(60), ["other"] * 9, []], [["xx"] * 60, ["yy"] * 9, []]
    )
    some = SMALL.model_copy(update={"held_out": {"web": 0.1}})
    built = run_stage(
        STAGE, some, {"documents": documents_, "langid": langid}, "xx", tmp_path=tmp_path
    )
    assert 40 < built.statistics["ngrams"]["documents"] <= 60


def test_lines_removed_by_line_dedup_are_not_read(tmp_path: Path) -> None:
    texts = made_up(60)
    edited = [Edit(len(text), len(text) + 6, reason="line_dedup.line") for text in texts]
    given = documents(tmp_path, "wiki", [[f"{text}\nMenu!" for text in texts]])
    beside = artifact(
        tmp_path,
        "line_dedup",
        "wiki",
        {"part-00000.parquet": pa.table({COLUMN: column_of([[e] for e in edited])})},
    )
    inputs = {"documents": given, "line_dedup": beside}
    built = run_stage(STAGE, SMALL, inputs, "xx", tmp_path=tmp_path / "edited")
    plain = run_stage(
        STAGE,
        SMALL,
        {"documents": documents(tmp_path / "p", "wiki", [texts])},
        "xx",
        tmp_path=tmp_path,
    )
    assert data_digests(built) == data_digests(plain)


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    given, langid = source(tmp_path, "web", [made_up(10)], [["yy"] * 10])
    with pytest.raises(StageError, match=r"the reference sources have no text in language 'xx'"):
        run_stage(STAGE, SMALL, {"documents": given, "langid": langid}, "xx", tmp_path=tmp_path)
    with pytest.raises(StageError, match=r"sources \['web'\], but their documents"):
        run_stage(
            STAGE,
            SMALL,
            {"documents": source(tmp_path, "a", [["x"]]), "langid": langid},
            "b",
            tmp_path=tmp_path,
        )
    with pytest.raises(StageError, match=r"`vocabulary: 8` is below the \d+ characters"):
        train(tmp_path / "small", made_up(10), SMALL.model_copy(update={"vocabulary": 8}))
    with pytest.raises(StageError, match=r"discount_fallback"):
        train(
            tmp_path / "degenerate",
            ["one two"],
            SMALL.model_copy(update={"discount_fallback": None}),
        )


def test_a_small_corpus_clips_the_vocabulary_and_says_so(tmp_path: Path) -> None:
    built = train(
        tmp_path, made_up(20), SMALL.model_copy(update={"vocabulary": 65_536})
    ).statistics["sentencepiece"]
    assert built["clipped"] and built["vocabulary"] < built["vocabulary_requested"] == 65_536


def test_missing_lmplz_is_an_error_and_its_path_is_not_part_of_the_version(tmp_path: Path) -> None:
    parameters = SMALL.model_copy(update={"estimator": "lmplz", "lmplz": str(tmp_path / "nowhere")})
    with pytest.raises(StageError, match=r"nowhere.*make lmplz.*estimator: builtin"):
        train(tmp_path, made_up(10), parameters)
    elsewhere = parameters.model_copy(update={"lmplz": None, "lmplz_memory": "1G"})
    assert len({version_of(STAGE, "xx", each, {}, {}) for each in (parameters, elsewhere)}) == 1
    assert version_of(STAGE, "xx", SMALL, {}, {}) != version_of(STAGE, "xx", parameters, {}, {})


def test_lmplz_gives_the_builtin_scores(tmp_path: Path) -> None:
    try:
        lmplz.find(None)
    except StageError:
        pytest.skip("KenLM's lmplz is not there: make lmplz")
    texts = made_up(120)
    builtin = train(tmp_path, texts)
    parameters = SMALL.model_copy(update={"estimator": "lmplz"})
    built = train(tmp_path, texts, parameters)
    again = train(tmp_path / "again", texts, parameters.model_copy(update={"lmplz_memory": "200M"}))
    assert built.files() == ["lm.bin", "sp.model", "unit.json"]
    assert data_digests(built) == data_digests(again)
    ours, theirs = kenlm.Model(str(builtin.path("lm.arpa"))), kenlm.Model(str(built.path("lm.bin")))
    model = sentencepiece.SentencePieceProcessor(model_file=str(built.path("sp.model")))
    for text in made_up(20, seed=1):
        sentence = model.encode(text, out_type=str)
        assert ours.score(" ".join(sentence)) == pytest.approx(
            theirs.score(" ".join(sentence)), abs=1e-5 * len(sentence)
        )


def test_a_run_killed_after_sentencepiece_does_not_train_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counted(*arguments: Any) -> bytes:
        calls.append("train")
        return trained(*arguments)

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    trained = pieces.train
    monkeypatch.setattr(pieces, "train", counted)
    with monkeypatch.context() as broken:
        broken.setattr("tasks.language_model.run.estimate", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, made_up(120))
    built = train(tmp_path, made_up(120))
    assert calls == ["train"]
    assert data_digests(built) == data_digests(train(tmp_path / "whole", made_up(120)))


@given(st.text(st.sampled_from("ab "), max_size=60), st.integers(2, 12))
def test_sentences_for_the_trainer_add_up_to_the_document(text: str, limit: int) -> None:
    stretches = list(pieces.sentences(text, limit))
    assert "".join(stretches) == text
    assert all(0 < len(stretch) <= limit for stretch in stretches)
    assert len(stretches) <= 2 * len(text) / limit + 1 or " " in text


def test_golden_output(tmp_path: Path) -> None:
    """If the output changes on purpose, raise the stage's version, then this digest."""
    built = train(tmp_path, made_up(120))
    assert sentencepiece.__version__ != "0.2.3" or (STAGE.version, built.statistics["unit"]) == (
        2,
        "7c81ba4ca05d",
    )
