"""Models whose labels name a language and a script, as GlotLID's and OpenLID's do."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flows.planning.prepare import prepare as prepare_recipe
from flows.planning.request import RunRequest
from flows.recipe.file import RecipeError
from infra.engine import EngineConfig, start
from infra.store import Artifact
from tasks.cut.stage import STAGE as CUT
from tasks.cut.stage import CutParameters, SourceCut
from tasks.documents.keep import LanguageKeep
from tasks.langid.codes import CODES, Meaning, meaning
from tasks.langid.identify import load
from tasks.langid.labels import LID_176, unknown_label
from tasks.langid.model import locate_model, read_labels
from tasks.langid.prepare import prepare
from tasks.langid.stage import STAGE, LangidParameters
from tests.stage_harness import run_stage
from tests.tables import column, documents
from tests.tasks.langid.fasttext_file import write_classifier

WORDS = {
    "eng_Latn": "the of and to in is you that it he was for on are with as they be at one",
    "nob_Latn": "og jeg det er på til som med for den har ikke vi av så men han hun meg",
    "cmn_Hani": "我们 时间 这个 国家 问题 没有 可以 知道 现在 中国 学习 发展 工作",
    "zho_Hant": "我們 時間 這個 國家 問題 沒有 可以 知道 現在 中國 學習 發展 工作",
    "yue_Hant": "佢哋 嘅 唔係 冇 咗 嚟 喺度 乜嘢 點解 而家 啲 嗰個",
    "zxx_Zxxx": "0x1f &&& ### 7b3a === ;;; @@@ ||| %%% {{}} 9c4d --- +++ ***",
    "und_Cyrl": "ыъъ щщы ъэы эъщ ыэъ",
}
TEXTS = {
    "that it was one of the": ("en", "Latn"),
    "jeg har ikke det": ("no", "Latn"),
    "我们 现在 学习 发展": ("zh", "Hani"),
    "我們 現在 學習 發展": ("zh", "Hant"),
    "佢哋 而家 喺度": ("yue", "Hant"),
    "### 0x1f 9c4d {{}} ===": ("zxx", "Zxxx"),
    "щщы ыъъ эъщ": ("und", None),
    "": ("und", None),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fastText model of a few words for each label."""
    path = tmp_path_factory.mktemp("model") / "glot.bin"
    write_classifier(path, WORDS)
    return path


@pytest.fixture
def labelled(model: Path, tmp_path: Path) -> tuple[Artifact, Artifact]:
    given = documents(tmp_path, "web", [list(TEXTS)])
    parameters = LangidParameters(model=str(model))
    return given, run_stage(STAGE, parameters, {"documents": given}, "web", tmp_path=tmp_path)


def test_labels_become_a_language_code_and_a_script(labelled: tuple[Artifact, Artifact]) -> None:
    _, found = labelled
    assert column(found, "language") == [language for language, _ in TEXTS.values()]
    assert column(found, "script") == [script for _, script in TEXTS.values()]
    scores = column(found, "language_score")
    assert min(scores[:6]) > 0.5 and scores[6:] == [0.0, 0.0]
    counted = {row["language"]: row.get("scripts") for row in found.statistics["languages"]}
    assert counted["zh"] == {"Hani": 1, "Hant": 1} and counted["und"] is None


def test_a_model_of_ones_own_works_in_workers(model: Path, tmp_path: Path) -> None:
    given = documents(tmp_path, "web", [list(TEXTS), list(TEXTS)])
    parameters = LangidParameters(model=str(model))
    one = run_stage(STAGE, parameters, {"documents": given}, "web", tmp_path=tmp_path / "one")
    with start(EngineConfig(kind="processes", workers=2)) as engine:
        two = run_stage(
            STAGE, parameters, {"documents": given}, "web", tmp_path=tmp_path / "2", engine=engine
        )
    assert one.digest == two.digest


@pytest.mark.parametrize(
    ("keep", "reasons"),
    [
        (
            LanguageKeep(),
            [None, None, None, None, None, "langid.noise", "langid.threshold", "langid.threshold"],
        ),
        (
            LanguageKeep(languages=("zh", "yue"), scripts=("Hant",)),
            [
                "langid.language",
                "langid.language",
                "langid.script",
                None,
                None,
                "langid.noise",
                "langid.language",
                "langid.language",
            ],
        ),
    ],
)
def test_cut_drops_noise_and_other_scripts(
    labelled: tuple[Artifact, Artifact],
    tmp_path: Path,
    keep: LanguageKeep,
    reasons: list[str | None],
) -> None:
    given, langid = labelled
    parameters = CutParameters(sources={"web": SourceCut(langid=keep, category="web")})
    cut = run_stage(CUT, parameters, {"documents": given, "langid": langid}, tmp_path=tmp_path)
    assert column(cut, "reason") == reasons
    assert cut.ledger.documents("dropped") == sum(reason is not None for reason in reasons)


def test_labels_without_a_script_are_codes_as_they_are() -> None:
    for label in (*LID_176, "eng", "zho", "zh-Hans", "news"):
        assert meaning(f"__label__{label}") == Meaning(label)


def test_standard_forms_are_their_macrolanguage_and_other_members_are_not() -> None:
    found = {label: meaning(label).language for label in ("arb_Arab", "arz_Arab", "als_Latn")}
    assert found == {"arb_Arab": "ar", "arz_Arab": "arz", "als_Latn": "sq"}
    assert {meaning(f"{code}_Latn").language for code in ("zho", "cmn", "yue")} == {"zh", "yue"}
    assert all(len(code) == 2 for code in CODES.values())


def test_a_label_in_a_recipe_is_told_its_code() -> None:
    problem = unknown_label("zho_Hans", "glotlid.bin") or ""
    assert "whose language is 'zh'" in problem and "keep.scripts" in problem
    assert unknown_label("zh", "glotlid.bin") is None is unknown_label("yue", "glotlid.bin")


def as_the_model_card_says(text: str) -> str:
    """OpenLID-v3: lower case, whitespace squeezed, neither digits nor what is no word or space."""
    squeezed = regex.sub(r"\s\s+", " ", text.strip().replace("\n", " ").lower())
    return regex.sub(r"[^\p{Word}\p{Zs}]|\d", "", squeezed).strip()


@settings(deadline=None)  # the first call builds a table
@example("A\x1f\rA")
@given(st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=100))
def test_openlid_sees_words_alone(text: str) -> None:
    assert prepare(text, "openlid") == as_the_model_card_says(text)


def test_every_letter_and_mark_reaches_openlid() -> None:
    assigned = [
        chr(code)
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)) not in ("Cn", "Co", "Cs")
    ]
    for first in range(0, len(assigned), 5_000):
        text = f"a{'a'.join(assigned[first : first + 5_000])}a"
        assert prepare(text, "openlid") == as_the_model_card_says(text[:10_000])


def test_preprocessing_is_the_recipes_and_part_of_the_version(model: Path, tmp_path: Path) -> None:
    given = documents(tmp_path, "web", [["THAT, it: WAS!"]])
    found = {}
    for way in ("none", "openlid"):
        parameters = LangidParameters.model_validate({"model": str(model), "preprocessing": way})
        artifact = run_stage(STAGE, parameters, {"documents": given}, "web", tmp_path=tmp_path)
        found[artifact.version] = column(artifact, "language")
    assert list(found.values()) == [["und"], ["en"]]


RECIPE = """\
name: r
sources:
  web:
    ingest: {{format: text, paths: [a.txt]}}
    langid: {{model: {model}, keep: {{languages: [{language}]}}}}
    category: web
"""


@pytest.mark.parametrize(
    ("language", "problem"),
    [
        ("zh", None),
        ("und", None),
        ("de", r"r\.yaml:5: .*'de' is none of the 4 languages of glot\.bin; use one"),
        ("zho", r"'zho' is none of the 4 languages of glot\.bin \(did you mean 'zh'\?\)"),
        ("chinese", r"did you mean 'zh'"),
        ("zho_Hant", r"'zho_Hant' is a label, whose language is 'zh'"),
    ],
)
def test_a_language_that_the_model_has_no_label_for_is_refused_by_the_plan(
    model: Path, tmp_path: Path, language: str, problem: str | None
) -> None:
    (tmp_path / "a.txt").write_text("text")
    recipe = tmp_path / "r.yaml"
    recipe.write_text(RECIPE.format(model=model, language=language))
    if problem is None:
        prepare_recipe(RunRequest(recipe)).refuse_unresolved()
    else:
        with pytest.raises(RecipeError, match=problem):
            prepare_recipe(RunRequest(recipe))


def test_labels_are_read_without_fasttext(model: Path, tmp_path: Path) -> None:
    assert read_labels(model) == tuple(f"__label__{label}" for label in WORDS)
    packaged = locate_model("lid.176")
    assert read_labels(packaged) == tuple(load(str(packaged)).getLabels("strict")[0])
    cut_short = tmp_path / "cut.bin"
    for size in (0, 10, 90, 300):
        cut_short.write_bytes(model.read_bytes()[:size])
        assert read_labels(cut_short, (size, 0)) is None
