"""The page shows the tokenizer's report and the cluster table, and is deterministic."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from infra.ledger import Ledger
from infra.store import Artifact
from tasks.checkpoints.tokenizer_files import size_of
from tasks.report.documents import cluster_sizes
from tasks.report.notes import missing_languages
from tasks.report.page import page
from tasks.report.scores import by_position, change
from tasks.report.stage import STAGE, ReportParameters
from tasks.report.summary import CLUSTERS_SHOWN, extraction, summary
from tasks.tokenizer.measure import measure, report
from tests.stage_harness import data_digests, run_stage
from tests.tasks.checkpoints.samples import sentencepiece_base
from tests.tasks.report.made import made
from tests.tasks.report.sample_run import SAMPLE, SIZES, dedup, tokenizer


def drawn(inputs: dict[str, Artifact], tmp_path: Path) -> tuple[dict[str, Any], str, Artifact]:
    artifact = run_stage(
        STAGE, ReportParameters(recipe="small"), inputs, tmp_path=tmp_path, force=True
    )
    return (
        json.loads(artifact.path("summary.json").read_text()),
        artifact.records.local("report.html").read_text(),
        artifact,
    )


def test_the_tokenizer_section(tmp_path: Path) -> None:
    given = tokenizer(tmp_path)
    numbers, page, artifact = drawn({"tokenizer": given}, tmp_path)
    written = json.loads(given.path("report.json").read_text())
    assert numbers["tokenizer_report"] == written
    assert f"chosen {written['size']:,}" in page and "Compression against size" in page
    assert "Compression, before and after" in page
    for piece, new in written["examples"]["zh"][0]["after"]:
        shown = piece.replace(" ", "\u00b7").replace("<", "&lt;").replace(">", "&gt;")
        assert f'<span class="piece{" new" if new else ""}">{shown}</span>' in page
    pieces = len(written["examples"]["zh"][0]["before"])
    assert f'data-label="tokens"><span>{pieces}</span></td>' in page
    assert f"{written['pieces']['unused']['count']:,}" in page and "never used" in page
    _, again, second = drawn({"tokenizer": given}, tmp_path)
    assert data_digests(second) == data_digests(artifact)
    assert _tokenizer_section(again) == _tokenizer_section(page)


def _tokenizer_section(page: str) -> str:
    return page.partition('id="tokenizer"')[2].partition("</section>")[0]


def test_a_tokenizer_kept_as_it_is_has_no_curve(tmp_path: Path) -> None:
    _, page, _ = drawn({"tokenizer": tokenizer(tmp_path, grown=False)}, tmp_path)
    assert (
        "tokens, the same as the base" in page
        and "Compression against size" not in page
        and "never used" not in page
    )
    assert 'class="piece new"' not in page


def test_an_older_tokenizer_without_a_report_is_shown(tmp_path: Path) -> None:
    base = sentencepiece_base()
    plain = made("tokenizer", {"size": 310, **measure(None, base, [], SAMPLE)}, {}, tmp_path)
    numbers, page, _ = drawn({"tokenizer": plain}, tmp_path)
    assert numbers["tokenizer_report"] == {} and "tokens per byte" in page


def test_given_pieces_are_accounted_for(tmp_path: Path) -> None:
    base = sentencepiece_base()
    given = {
        "given": 1_234,
        "added": 1_200,
        "skipped": {"given before": 30, "holds a special token": 4},
        "steps_added": 7,
        "characters_added": 5,
        "examples": {"holds a special token": ["<s>a"]},
    }
    statistics = {"size": size_of(base), "new_tokens": 0, **measure(base, base, [], SAMPLE)}
    numbers = report(base, base, [], [], 0, SAMPLE) | {"given_pieces": given}
    _, page, _ = drawn(
        {"tokenizer": made("tokenizer", statistics, {"report.json": numbers}, tmp_path)}, tmp_path
    )
    assert (
        "1,200 of 1,234 pieces were added" in page
        and "&lt;s&gt;a" in page
        and "given before" in page
    )


def test_the_duplicate_section(tmp_path: Path) -> None:
    numbers, page, _ = drawn({"dedup": dedup(tmp_path)}, tmp_path)
    assert [row["size"] for row in numbers["clusters"]] == SIZES[:CLUSTERS_SHOWN]
    first = numbers["clusters"][0]
    assert (first["sources"], first["listed"], first["least"]) == (
        {"zh-web": 4, "forum": 1},
        5,
        0.86,
    )
    assert "select/zh-web@january" in page
    assert "document-0<" in page and "of the first 5" in page and "32 to 63" in page
    assert f"document-{CLUSTERS_SHOWN}<" not in page


def test_no_duplicates_draw_nothing(tmp_path: Path) -> None:
    statistics = {"eligible": 10, "exact": 0, "near": 0, "cluster_sizes": []}
    numbers, page, _ = drawn(
        {"dedup": made("dedup", statistics, {"clusters.parquet": []}, tmp_path)}, tmp_path
    )
    assert numbers["clusters"] == [] and "largest clusters" not in page


def test_the_section_on_documents_that_say_the_same(tmp_path: Path) -> None:
    histogram = [0] * 100
    histogram[85], histogram[97] = 7, 2
    found = {
        "documents": 1_234,
        "pairs": 9,
        "without_vector": 3,
        "saturated": 2,
        "histogram": histogram,
        "vectors": {"model": "org/encoder"},
    }
    pair = {"similarity": 0.97, "texts": [{"text": "kept <b>"}, {"text": "gone"}]}
    decided = {"near": 2, "limit": 0.95, "examples": {"removed": [pair], "kept": []}}
    given = {"neighbours": made("neighbours", found, {}, tmp_path)}
    _, page, _ = drawn(given, tmp_path)
    assert "1,234 documents compared by vectors of org/encoder" in page
    assert "None was removed" in page and "3 documents have no text" in page
    _, page, _ = drawn({**given, "semantic": made("semantic", decided, {}, tmp_path)}, tmp_path)
    assert "2 documents were removed" in page and "0.95 or more" in page
    assert "kept &lt;b&gt;" in page and "gone" in page and "semantic.neighbours" in page


@pytest.mark.parametrize("count", [1, 5, 17])
def test_the_histogram_labels_every_bin(count: int) -> None:
    rows = [
        {"from": 2**n, "to": 2 ** (n + 1) - 1, "clusters": 10**5 // (n + 1), "documents": 0}
        for n in range(count)
    ]
    shown = cluster_sizes(rows)
    assert [row[1] for row in shown.rows] == [row["clusters"] for row in rows]


def test_removed_and_contaminated_documents_are_shown(tmp_path: Path) -> None:
    benchmark = {"items": 100, "items_hit": 3, "items_unmatchable": 1, "documents_hit": 5}
    ledger = Ledger()
    ledger.add("web", "en", "read", documents=2, bytes=30)
    ledger.add("web", "en", "kept", documents=2, bytes=20)
    ledger.add("web", "en", "edited", "line_dedup.line", documents=0, bytes=10)
    inputs = {
        "line_dedup": made(
            "line_dedup", {"most_repeated": [{"text": "All cookies", "copies": 9}]}, {}, tmp_path
        ),
        "decontaminate": made("decontaminate", {"benchmarks": {"exam": benchmark}}, {}, tmp_path),
        "select": made("select", {}, {}, tmp_path, ledger.to_json()),
        "evaluation": made(
            "evaluation", {"scores": {}, "notes": ["No document is long enough."]}, {}, tmp_path
        ),
    }
    inputs["evaluation"].manifest.data["parameters"] |= {
        "benchmarks": {"exam": {}},
        "decontaminated": ["exam"],
    }
    numbers = summary({stage: (artifact,) for stage, artifact in inputs.items()})
    assert numbers["edits"] == [{"source": "web", "reason": "line_dedup.line", "bytes": 10}]
    assert numbers["repeated_lines"]["main"][0]["copies"] == 9
    assert numbers["notes"] == ["main: No document is long enough."]
    assert numbers["contaminated"] == [
        {"benchmark": "exam", "items": 100, "items_hit": 3, "unmatchable": 1, "documents": 5}
    ]
    html = page("small", {stage: (artifact,) for stage, artifact in inputs.items()}, numbers)
    assert "All cookies" in html and "Benchmark contamination" in html
    assert "line_<wbr>dedup.<wbr>line" in html


def test_a_language_that_a_custom_model_never_predicts_is_noted(tmp_path: Path) -> None:
    langid = made(
        "langid",
        {"languages": [{"language": "deu", "documents": 7, "mean_score": 0.9}]},
        {},
        tmp_path,
    )
    cut = made("cut", {}, {}, tmp_path)
    cut.manifest.data["parameters"] |= {
        "sources": {"main": {"langid": {"languages": ["de", "deu"], "threshold": 0.5}}}
    }
    langid.manifest.data["parameters"] |= {"model": "lid.176"}
    assert missing_languages({"langid": [langid], "cut": [cut]}) == []
    langid.manifest.data["parameters"] |= {"model": "/models/glot.bin"}
    assert missing_languages({"langid": [langid], "cut": [cut]}) == [
        "source main: no document is in de, which langid.keep names; is that a label of glot.bin? "
        "It predicted deu 7"
    ]


@pytest.mark.parametrize(
    ("metric", "better"),
    [("tokens_per_byte", -0.5), ("bits_per_byte", -0.5), ("word_perplexity", -0.5), ("acc", 0.5)],
)
def test_changes_are_coloured_by_whether_they_are_better(metric: str, better: float) -> None:
    changed = change({metric: 1.0}, {metric: 1.0 + better}, metric)
    assert changed is not None and changed.tone(metric) == "up"


def test_the_model_section(tmp_path: Path) -> None:
    operated = {
        "parameters": 1_234_567,
        "tokenizer_size": 1_000,
        "matrix_rows": 1_024,
        "new_tokens": 488,
        "tied": True,
        "embeddings": {"input": "mean"},
        "mean_row_norm": {"input": {"old": 1.25, "new": 0.75}},
        "layers_of_base": 3,
        "probability_before_training": {"new_tokens": 0.0321, "padding": 0.0},
        "layers": [0, 2],
        "positions": 1_024,
        "importance": [0.5, 0.125, 0.25],
        "importance_measure": "block-influence",
        "rope": {"rope_type": "yarn", "factor": 2.0},
    }
    _, page, _ = drawn({"model": made("model", operated, {}, tmp_path)}, tmp_path)
    for words in (
        "488, mean",
        "1.250, 0.750",
        "3.21%",
        "0, 2 (of 3)",
        "1,024, rope yarn by 2",
        "by block-influence",
    ):
        assert words in page, words
    rows = re.findall(r">(0\.\d+)</span></span></span></td><td[^>]*><span>(\w+)", page)
    assert rows == [("0.5", "kept"), ("0.125", "removed"), ("0.25", "kept")]


def test_a_new_model_has_no_surgery_to_show(tmp_path: Path) -> None:
    new = {"parameters": 8, "tokenizer_size": 4, "matrix_rows": 4, "rows_added": 4}
    _, page, _ = drawn({"model": made("model", new, {}, tmp_path)}, tmp_path)
    assert "Model before training" in page and "layers of the base" not in page


def test_long_text_is_drawn_by_position(tmp_path: Path) -> None:
    def scores(documents: int) -> dict[str, Any]:
        row = {"bits_per_byte": 1.5, "tokens_per_byte": 0.5, "n": documents}
        return {f"long-text/web-en{bucket}": row for bucket in ("", "/0-511", "/512-1023")}

    numbers = {"base": scores(2), "after": scores(1)}
    assert by_position(numbers)["web-en"]["after"] == [(256.0, 1.5), (768.0, 1.5)]
    given = made("evaluation", {"scores": scores(2), "notes": []}, {}, tmp_path)
    given.manifest.data["parameters"] |= {"benchmarks": {}, "decontaminated": []}
    html = page("small", {"evaluation": (given,)}, summary({"evaluation": (given,)}))
    assert "Long text, by position" in html and "Bits per byte by position, web-en" in html


def test_extraction_is_shown_by_declared_language(tmp_path: Path) -> None:
    def row(language: str, pages: int, documents: int, text: int) -> dict[str, Any]:
        counts = {"pages": pages, "documents": documents, "payload_bytes": 10_000}
        return {"language": language, **counts, "text_bytes": text}

    statistics = {"page_languages": [row("en", 10, 9, 3_000), row("th", 8, 2, 100)]}
    ingest = made("ingest", statistics, {}, tmp_path)
    ledger = Ledger()
    for language, documents in (("en", 8), ("th", 1), ("lo", 2)):
        for side in ("read", "kept"):
            ledger.add("web", language, side, documents=documents, bytes=100 * documents)
    identified = {"languages": [{"language": "en", "documents": 11, "mean_score": 0.9}]}
    langid = made("langid", identified, {}, tmp_path, ledger.to_json())
    shown = extraction({"ingest": [ingest], "langid": [langid]})
    rows = {entry["language"]: entry for entry in shown}
    assert list(rows) == ["en", "th", "lo"]
    assert (rows["th"]["lost"], rows["th"]["yield"], rows["th"]["detected"]) == (0.75, 0.01, 1)
    assert (rows["lo"]["pages"], rows["lo"]["lost"], rows["lo"]["detected_bytes"]) == (0, None, 200)
    assert extraction({"ingest": [ingest]})[0]["detected"] is None
    html = page("r", {}, summary({}) | {"extraction": shown})
    assert "Extraction by language" in html and "75.0%" in html and "1.0%" in html
    assert "Extraction by language" not in page("r", {}, summary({}))
