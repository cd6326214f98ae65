"""`puna plan --scale`: sizes of sources, costs of the store's own runs, answers, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.planning.scale import history
from flows.planning.scale.costs import UnitCost, read_costs
from flows.planning.scale.sizes import crawled, language_share
from infra.engine import EngineConfig
from infra.store import Store
from tasks.ingest.parts import PART_BYTES as INGEST_PART_BYTES
from tasks.ingest.parts import PARTS as INGEST_PARTS
from tasks.ingest.stage import IngestParameters
from tests.end_to_end.direct import run_direct

RECIPE = """\
name: r
store: {store}
sources:
  web: {{ingest: {{format: jsonl, paths: [a.jsonl]}}, category: web}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    rows = ({"text": f"{number:06d} " + "some words " * 40} for number in range(2_000))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = tmp_path / "r.yaml"
    file.write_text(RECIPE.format(store=tmp_path / "store"))
    return file


def invoked(*words: object) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["plan", *map(str, words)])
    return found.exit_code, found.output


def scaled(*words: object) -> dict[str, Any]:
    code, text = invoked(*words, "--json")
    assert code == 0, text
    answer: dict[str, Any] = json.loads(text)["scale"]
    return answer


def crawl(**keys: object) -> IngestParameters:
    return IngestParameters.model_validate(
        {"format": "commoncrawl", "crawl": "CC-MAIN-2024-22"} | keys
    )


def test_a_whole_crawl_is_known_without_a_network() -> None:
    costs = read_costs()
    whole = crawled(crawl(), "no network", None, costs)
    assert (whole.requests, whole.parts, whole.records) == (90_000, 90_000, 3e9)
    assert whole.source_bytes == pytest.approx(92.7e12)
    assert not whole.s3 and crawled(crawl(host="s3://commoncrawl/"), "", None, costs).s3
    few = crawled(crawl(files=90), "", None, costs)
    assert few.records == pytest.approx(3e6) and few.requests == 90
    two = crawled(crawl(crawl=["CC-MAIN-2024-22", "CC-MAIN-2024-18"], sample=0.5), "", None, costs)
    assert two.requests == 90_000
    text = crawled(crawl(kind="wet"), "", None, costs)
    assert text.kind == "wet" and text.source_bytes == pytest.approx(8.7e12)


def test_a_selection_is_counted_by_language_or_by_the_index() -> None:
    costs = read_costs()
    some = crawled(crawl(select={"languages": ["fr", "de"]}), "", None, costs)
    assert some.records == pytest.approx(0.1 * 3e9)
    assert some.requests > some.records
    assert some.source_bytes == pytest.approx(0.1 * 92.7e12 + 2e10)
    reading = {
        "archives": 40,
        "archive_bytes": 4e10,
        "records": 100_000,
        "requests": 90_000,
        "bytes": 3e9,
    }
    told = crawled(crawl(select={"domains": ["example.org"]}), "", reading, costs)
    assert (told.records, told.requests, told.source_bytes) == (100_000, 90_000, 3e9)
    with pytest.raises(ValueError, match="no network"):
        crawled(crawl(select={"domains": ["example.org"]}), "no network", None, costs)


def test_shares_of_languages() -> None:
    costs = read_costs()
    assert language_share(("en",), costs) == 0.46
    assert language_share(("eng", "en", "fi"), costs) == pytest.approx(0.47)


def test_a_limit_takes_its_share_of_everything() -> None:
    size = crawled(crawl(), "", None, read_costs())
    some = size.limited(size.documents / 1_000)
    assert some.requests == pytest.approx(90) and some.parts == 90
    assert size.limited(1e12) is size


def test_parts_are_as_ingest_makes_them() -> None:
    from flows.planning.scale import sizes

    assert (sizes.PART_BYTES, sizes.PARTS) == (INGEST_PART_BYTES, INGEST_PARTS)


def test_the_answer_in_words_and_as_json(recipe: Path) -> None:
    code, text = invoked(recipe, "--scale", "two-cores")
    assert code == 0, text
    assert "two-cores: 1 node of 2 cores" in text and "no price" in text
    assert "first bottleneck:" in text and "second bottleneck:" in text
    assert "What to change:" in text and "money" not in text
    found = scaled(recipe, "--scale", "{extends: two-cores, price_hour: 3.6}")
    by_stage = {stage["name"]: stage for stage in found["stages"]}
    assert list(by_stage) == ["ingest", "signatures", "cut", "dedup", "select"]
    size = (recipe.parent / "a.jsonl").stat().st_size
    assert found["sources"]["web"]["file_bytes"] == size
    assert found["money"] == pytest.approx(found["hours"] * 3.6)
    assert found["hours"] == pytest.approx(sum(s["hours"] for s in found["stages"]))
    assert len(found["bottlenecks"]) == 2
    assert "report" in found["not_predicted"]
    assert all(stage["known_from"] for stage in found["stages"])


def test_an_artifact_in_the_store_says_how_many_documents_there_are(recipe: Path) -> None:
    run_direct(recipe, recipe.parent / "store", EngineConfig(kind="inline"), until="select")
    found = scaled(recipe, "--scale", "two-cores")
    assert found["sources"]["web"]["documents"] == 2_000
    assert "its artifact ingest/web@" in found["sources"]["web"]["how"]
    assert any("cut keeps 100% of web, as cut/main@" in note for note in found["notes"])
    assert any("as it did in this store" in note for note in found["notes"])
    # of 2,000 documents in a second nothing is learned of time
    assert not any("this store:" in origin for s in found["stages"] for origin in s["known_from"])


def test_large_runs_of_the_store_say_what_a_document_costs(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_direct(recipe, recipe.parent / "store", EngineConfig(kind="inline"), until="select")
    monkeypatch.setattr(history, "LEAST_DOCUMENTS", 1_000)
    monkeypatch.setattr(history, "LEAST_SECONDS", 0.0)
    made = Store.at(str(recipe.parent / "store")).open("signatures/web")
    manifest = made.manifest
    assert manifest.workers == 1
    cost = history.unit_cost(made, UnitCost(one_process_us=3, worker_bytes=5))
    text = manifest.ledger.bytes("read")
    assert cost.seconds(2_000, text) == pytest.approx(manifest.seconds)
    written = sum(output.bytes for output in manifest.outputs)
    assert cost.written(2_000, text) == pytest.approx(written)
    assert (cost.one_process_us, cost.worker_bytes) == (3, 5)
    found = scaled(recipe, "--scale", "two-cores")
    by_stage = {stage["name"]: stage for stage in found["stages"]}
    assert "this store: signatures/web@" in by_stage["signatures"]["known_from"][0]
    assert any("unit costs of this store's own runs" in note for note in found["notes"])
    stated = "{extends: two-cores, costs: {signatures: {mb_ms: 1}}}"
    own = scaled(recipe, "--scale", stated)
    by_stage = {stage["name"]: stage for stage in own["stages"]}
    assert by_stage["signatures"]["known_from"] == ["stated by you"]


def test_one_full_crawl_on_a_named_cluster(tmp_path: Path) -> None:
    file = tmp_path / "dump.yaml"
    file.write_text(
        f"""\
name: dump
store: {tmp_path / "store"}
remote: {{retry_limit_s: 0, retry_interval_s: 0}}
sources:
  pages:
    ingest:
      format: commoncrawl
      crawl: CC-MAIN-2024-22
      host: "s3://commoncrawl/"
      index_host: http://127.0.0.1:9/
    langid: {{keep: {{languages: [en]}}}}
    category: web
dedup: {{prefer: [length]}}
"""
    )
    found = scaled(file, "--scale", "aws-100")
    assert found["sources"]["pages"]["records"] == 3e9
    assert found["money"] > 100 and found["store_month"] > 10
    assert {one["stage"] for one in found["bottlenecks"]} <= {"ingest", "dedup", "select"}
    assert any("dedup.memory" in line for line in found["unfit"])
    assert any("engine.kind: ray" in line for line in found["unfit"])
    dedup = next(stage for stage in found["stages"] if stage["name"] == "dedup")
    assert dedup["one_process_bytes"] >= 8 * 0.9 * 3e9
    small = scaled(file, "--scale", "two-cores")
    assert any("one process needs" in line for line in small["unfit"])
    assert any(line.startswith("disk:") for line in small["unfit"])
    several = file.read_text().replace("CC-MAIN-2024-22", "[CC-MAIN-2024-22, CC-MAIN-2024-18]")
    file.write_text(several)
    found = scaled(file, "--scale", "aws-100")
    assert any("more than the 4,294,967,294 that one run can number" in u for u in found["unfit"])


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        ("aws-1600", "'aws-1600' is no cluster"),
        ("{nodes: 2, cores: 3}", "lacks memory, network_gbit, disk, disk_mb_s, price_hour"),
        ("{extends: two-cores, costs: {ingets: {}}}", "costs: 'ingets' is no data stage"),
    ],
)
def test_a_wrong_cluster_is_refused_in_one_sentence(recipe: Path, cluster: str, said: str) -> None:
    code, text = invoked(recipe, "--scale", cluster)
    assert code == 2 and said in text and len(text.strip().splitlines()) == 1


def test_recipes_that_cannot_be_predicted_are_refused_in_one_sentence(tmp_path: Path) -> None:
    no_data = tmp_path / "none.yaml"
    no_data.write_text(f"name: none\nstore: {tmp_path}/store\n")
    code, text = invoked(no_data, "--scale", "two-cores")
    assert code == 2 and "none has no stage that reads documents" in text
    unknown = tmp_path / "unknown.yaml"
    unknown.write_text(
        f"""\
name: unknown
store: {tmp_path}/store
remote: {{retry_limit_s: 0, retry_interval_s: 0}}
sources:
  far: {{ingest: {{format: jsonl, paths: ["http://127.0.0.1:9/a.jsonl"]}}, category: web}}
"""
    )
    code, text = invoked(unknown, "--scale", "two-cores")
    assert code == 2 and "source far: its files are not known" in text
    assert "unknown.yaml:5" in text
