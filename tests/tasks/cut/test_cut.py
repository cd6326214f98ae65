"""cut: order of checks, cut-offs over sources, categories, ledger, equal bytes for any engine."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pydantic
import pytest

from infra.engine import EngineConfig, start
from infra.stage import StageError
from infra.store import Artifact
from tasks.cut.stage import STAGE, CutParameters, SourceCut
from tests.stage_harness import run_stage
from tests.tables import artifact, column, content_digest, documents

FAILED = pa.list_(pa.struct([("rule", pa.string()), ("value", pa.float64())]))
CONTAMINATED = pa.list_(
    pa.struct([("benchmark", pa.string()), ("item", pa.string()), ("overlap", pa.string())])
)


class Sources:
    """Input artifacts of several sources, from rows of annotations."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.inputs: dict[str, list[Artifact]] = {}

    def add(self, source: str, parts: list[list[dict[str, Any]]], unit: str = "unit-a") -> None:
        self._put(
            "documents", documents(self._folder, source, [["text"] * len(part) for part in parts])
        )
        first = parts[0][0]
        if "language" in first:
            schema = pa.schema([("language", pa.string()), ("language_score", pa.float32())])
            rows = [[{"language_score": 1.0, **row} for row in part] for part in parts]
            self._put("langid", self._columns("langid", source, rows, schema))
        if "failed" in first:
            rows = [
                [{"failed": [{"rule": r, "value": 1.0} for r in row["failed"]]} for row in part]
                for part in parts
            ]
            rules = {"rules": ["gopher.word_count", "gopher.stop_words", "c4.sentences"]}
            self._put(
                "quality",
                self._columns("quality", source, rows, pa.schema([("failed", FAILED)]), rules),
            )
        if "perplexity" in first:
            units = {"units": dict.fromkeys(("zh", "en"), unit)}
            schema = pa.schema([("perplexity", pa.float64())])
            self._put("perplexity", self._columns("perplexity", source, parts, schema, units))
        if "emptied" in first:
            self._put(
                "line_dedup",
                self._columns("line_dedup", source, parts, pa.schema([("emptied", pa.bool_())])),
            )
        if "contaminated" in first:
            rows = [
                [
                    {
                        "contaminated": [
                            {"benchmark": b, "item": "1", "overlap": ""}
                            for b in row["contaminated"]
                        ],
                        "passage_share": row.get("passage_share", 0.0),
                    }
                    for row in p
                ]
                for p in parts
            ]
            schema = pa.schema([("contaminated", CONTAMINATED), ("passage_share", pa.float64())])
            self._put("decontaminate", self._columns("decontaminate", source, rows, schema))

    def _put(self, role: str, made: Artifact) -> None:
        self.inputs.setdefault(role, []).append(made)

    def _columns(
        self,
        stage: str,
        source: str,
        parts: list[list[dict[str, Any]]],
        schema: pa.Schema,
        statistics: Any = None,
    ) -> Artifact:
        files = {
            f"part-{i:05d}.parquet": pa.Table.from_pylist(
                [{name: row[name] for name in schema.names} for row in part], schema=schema
            )
            for i, part in enumerate(parts)
        }
        return artifact(self._folder, stage, source, files, statistics)


def row(language: str | None = "zh", **changes: Any) -> dict[str, Any]:
    return {"language": language, "failed": [], "perplexity": 10.0, "contaminated": [], **changes}


KEEP = SourceCut.model_validate(
    {
        "langid": {"languages": ["zh"], "threshold": 0.65},
        "quality": {"rules": ["gopher", "c4"], "except": ["gopher.stop_words"]},
        "perplexity": ["head", "middle"],
        "category": "web-zh",
    }
)


def test_the_first_failed_check_is_the_reason_and_the_ledger_has_all(
    tmp_path: Path,
) -> None:
    given = Sources(tmp_path)
    given.add(
        "web",
        [
            [
                row("en", failed=["c4.sentences"]),
                row(language_score=0.6499),
                row(failed=["gopher.stop_words", "gopher.word_count"], perplexity=1e9),
                row(failed=["gopher.stop_words"], perplexity=1.0),
                row(perplexity=5.0, contaminated=["cmmlu", "mmlu"]),
            ],
            [
                row(perplexity=99.0),
                row(perplexity=100.0, contaminated=["cmmlu"]),
                row(perplexity=None),
            ],
        ],
    )
    built = run_stage(STAGE, CutParameters(sources={"web": KEEP}), given.inputs, tmp_path=tmp_path)
    assert built.files() == ["web/part-00000.parquet", "web/part-00001.parquet"]
    assert column(built, "reason") == [
        "langid.language",
        "langid.threshold",
        "quality.gopher.word_count",
        None,
        "decontaminate.cmmlu",
        "perplexity.tail",
        "perplexity.tail",
        None,
    ]
    assert column(built, "category") == [None, None, None, "web-zh", None, None, None, "web-zh"]
    assert column(built, "bucket")[3:] == ["head", "middle", "tail", "tail", "all"]
    assert column(built, "language") == ["en"] + ["zh"] * 7
    (cutoff,) = built.statistics["cutoffs"]
    assert [cutoff["head"], cutoff["middle"]] == np.percentile(
        [1.0, 5.0, 99.0, 100.0], [30, 60]
    ).tolist()
    assert (cutoff["language"], cutoff["unit"], cutoff["documents"]) == ("zh", "unit-a", 4)
    assert built.statistics["funnel"] == [
        {
            "source": "web",
            "read": 8,
            "block": 8,
            "line_dedup": 8,
            "langid": 6,
            "quality": 5,
            "perplexity": 3,
            "decontaminate": 2,
            "category": 2,
            "classifier": 2,
        }
    ]
    assert built.statistics["contaminated"] == {"web": {"cmmlu": 2, "mmlu": 1}}
    assert built.statistics["dropped"]["perplexity.tail"] == 2
    ledger = built.ledger
    assert (ledger.documents("read"), ledger.documents("kept")) == (8, 2)
    assert ledger.documents("dropped", "langid.threshold") == 1


def test_cutoffs_are_percentiles_over_all_sources_with_the_same_model(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    values = {name: random.lognormal(6, 1, 60).tolist() for name in ("a", "b", "other")}
    given = Sources(tmp_path)
    for name, perplexities in values.items():
        rows = [
            row(perplexity=value, failed=["c4.sentences"] if i % 10 == 0 else [])
            for i, value in enumerate(perplexities)
        ]
        given.add(name, [rows[:25], rows[25:]], unit="unit-b" if name == "other" else "unit-a")
    parameters = CutParameters(sources=dict.fromkeys(values, KEEP), head=25, middle=62.5)
    built = run_stage(STAGE, parameters, given.inputs, tmp_path=tmp_path)

    def eligible(*names: str) -> list[float]:
        return [value for name in names for i, value in enumerate(values[name]) if i % 10]

    first, second = built.statistics["cutoffs"]
    assert [first["head"], first["middle"]] == np.percentile(
        eligible("a", "b"), [25, 62.5]
    ).tolist()
    assert [second["head"], second["middle"]] == np.percentile(
        eligible("other"), [25, 62.5]
    ).tolist()
    assert (first["sources"], second["sources"]) == (["a", "b"], ["other"])
    for name, cutoff in (("a", first), ("b", first), ("other", second)):
        expected = [
            "head" if v < cutoff["head"] else "middle" if v < cutoff["middle"] else "tail"
            for v in values[name]
        ]
        assert column(built, "bucket", f"{name}/") == expected
    with start(EngineConfig(kind="processes", workers=2)) as engine:
        again = run_stage(STAGE, parameters, given.inputs, tmp_path=tmp_path / "two", engine=engine)
    assert again.digest == built.digest and again.statistics == built.statistics


def test_categories_by_language_and_reports_of_contamination(tmp_path: Path) -> None:
    given = Sources(tmp_path)
    unscored = [row(language, perplexity=None) for language in ("de", None)]
    given.add("mixed", [[row("zh", contaminated=["mmlu"]), row("en"), *unscored]])
    given.add("plain", [[{"x": 1}, {"x": 2}]])
    given.add("reference", [[{"x": 1}]])
    by_language = SourceCut(category={"zh": "web-zh", "en": "web-en"}, decontaminate="report")
    parameters = CutParameters(
        sources={
            "mixed": by_language,
            "plain": SourceCut(category="books"),
            "reference": SourceCut(),
        }
    )
    built = run_stage(STAGE, parameters, given.inputs, tmp_path=tmp_path)
    assert column(built, "reason", "mixed/") == [None, None, "category.none", "category.none"]
    assert column(built, "category", "mixed/") == ["web-zh", "web-en", None, None]
    assert column(built, "language", "mixed/") == ["zh", "en", "de", "und"]
    assert built.statistics["contaminated"] == {"mixed": {"mmlu": 1}}
    assert column(built, "category", "plain/") == ["books"] * 2
    assert column(built, "language", "plain/") == ["und"] * 2
    assert column(built, "bucket", "plain/") == ["all"] * 2
    assert column(built, "reason", "reference/") == ["category.none"]


def test_documents_that_are_mostly_passages_or_empty_are_dropped(tmp_path: Path) -> None:
    shares = [0.2, 0.5, 0.51, 1.0, 0.9]
    rows = [
        {"contaminated": ["mmlu"] if i < 4 else [], "passage_share": share}
        for i, share in enumerate(shares)
    ]
    given = Sources(tmp_path)
    given.add("web", [[{**row, "emptied": False} for row in rows], [{**rows[0], "emptied": True}]])
    reasons = {
        action: column(
            run_stage(
                STAGE,
                CutParameters(
                    sources={
                        "web": SourceCut.model_validate({"category": "web", **action_and_share})
                    }
                ),
                given.inputs,
                tmp_path=tmp_path / action,
            ),
            "reason",
        )
        for action, action_and_share in {
            "passage": {"decontaminate": "passage"},
            "all": {"decontaminate": "passage", "passage_share": 1.0},
            "report": {"decontaminate": "report"},
            "drop": {"decontaminate": "drop"},
        }.items()
    }
    hit = "decontaminate.mmlu"
    assert reasons == {
        "passage": [None, None, hit, hit, None, "line_dedup.empty"],
        "all": [None, None, None, hit, None, "line_dedup.empty"],
        "report": [None] * 5 + ["line_dedup.empty"],
        "drop": [hit] * 4 + [None, "line_dedup.empty"],
    }


@pytest.mark.parametrize(
    ("keep", "says"),
    [
        ({"langid": {"languages": ["zh"]}}, "no langid stage"),
        ({"quality": {"rules": ["gopher"]}}, "no quality stage"),
        ({"perplexity": ["head"]}, "no perplexity stage"),
        ({"category": {"zh": "web"}}, "category by language but no langid"),
    ],
)
def test_a_keep_without_its_stage_is_an_error(
    tmp_path: Path, keep: dict[str, Any], says: str
) -> None:
    given = Sources(tmp_path)
    given.add("web", [[{"x": 1}]])
    parameters = CutParameters(sources={"web": SourceCut.model_validate(keep)})
    with pytest.raises(StageError, match=says):
        run_stage(STAGE, parameters, given.inputs, tmp_path=tmp_path)


def test_a_keep_on_rules_that_were_not_measured_is_an_error(tmp_path: Path) -> None:
    given = Sources(tmp_path)
    given.add("web", [[row()]])
    parameters = CutParameters(
        sources={"web": SourceCut.model_validate({"quality": {"rules": ["fineweb"]}})}
    )
    with pytest.raises(StageError, match=r"'fineweb'.*did not measure.*c4\.sentences"):
        run_stage(STAGE, parameters, given.inputs, tmp_path=tmp_path)


@pytest.mark.parametrize(
    "parameters",
    [
        {"sources": {}},
        {"sources": {"web": {"category": "heldout"}}},
        {"sources": {"web": {"category": "../up"}}},
        {"sources": {"web": {"category": {"zh": "a/b"}}}},
        {"sources": {"web": {}}, "head": 70},
        {"sources": {"web": {"decontaminate": "maybe"}}},
    ],
)
def test_invalid_parameters_are_errors(parameters: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        CutParameters.model_validate(parameters)


def test_equal_keeps_have_equal_identities() -> None:
    first = SourceCut.model_validate(
        {"langid": {"languages": ["zh", "en"]}, "perplexity": ["middle", "head"]}
    )
    second = SourceCut.model_validate(
        {"langid": {"languages": ["en", "zh", "en"]}, "perplexity": ["head", "middle"]}
    )
    assert first.identity() == second.identity()


def test_golden_output(tmp_path: Path) -> None:
    """If the output changes on purpose, raise the version in cut/stage.py, then this digest."""
    given = Sources(tmp_path)
    rows = [
        row(perplexity=float(10 + i * i % 97), failed=["c4.sentences"] if i % 7 == 3 else [])
        for i in range(30)
    ]
    given.add("web", [rows[:20], rows[20:]])
    given.add(
        "more", [[row("en"), row(contaminated=["mmlu"], perplexity=11.5), row(perplexity=None)]]
    )
    built = run_stage(
        STAGE, CutParameters(sources={"web": KEEP, "more": KEEP}), given.inputs, tmp_path=tmp_path
    )
    assert (STAGE.version, content_digest(built)) == (3, "72ebc04f3f574011")


def test_an_earlier_cut_calibrates_the_languages_it_knows(tmp_path: Path) -> None:
    parameters = CutParameters(sources={"web": SourceCut(category="web")})

    def cut(number: int, rows: list[dict[str, Any]], *earlier: Artifact) -> Artifact:
        given = Sources(tmp_path / str(number))
        given.add("web", [rows])
        return run_stage(
            STAGE, parameters, {**given.inputs, "calibration": earlier}, tmp_path=tmp_path
        )

    def cutoffs(made: Artifact) -> dict[str, tuple[float, float]]:
        return {c["language"]: (c["head"], c["middle"]) for c in made.statistics["cutoffs"]}

    first = cut(1, [row(perplexity=p) for p in (1.0, 2.0, 3.0)])
    second = cut(2, [row("en", perplexity=p) for p in (7.0, 7.5, 8.0)], first)
    assert second.statistics["calibration"] == first.identity
    assert list(cutoffs(second)) == ["en"]
    third = cut(3, [row(perplexity=1.0), row(perplexity=90.0), row("en", perplexity=9.0)], second)
    assert cutoffs(third) == cutoffs(first) | cutoffs(second)  # the second saw no Chinese
    assert column(third, "bucket") == ["head", "tail", "tail"]
