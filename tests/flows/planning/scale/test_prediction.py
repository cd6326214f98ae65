"""Work from costs and sizes, hours from work, and what holds a plan up: by hand."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.planning.graph import Graph
from flows.planning.scale.cluster import Cluster
from flows.planning.scale.costs import Costs, Network, UnitCost, read_costs
from flows.planning.scale.grouping import Grouping, grouping, needed_memory
from flows.planning.scale.sizes import Size
from flows.planning.scale.walls import DISK, FILES, ONE, PROCESSOR, REQUESTS, SOURCE, Timed, wall
from flows.planning.scale.works import DATA_STAGES, Funnel, Work, works
from flows.recipe.file import RecipeError
from infra.store import exchange
from tasks.cut.stage import STAGE as CUT
from tasks.cut.stage import CutParameters, SourceCut
from tasks.dedup.stage import STAGE as DEDUP
from tasks.dedup.stage import DedupParameters
from tasks.ingest.stage import STAGE as INGEST
from tasks.ingest.stage import IngestParameters
from tasks.langid.stage import STAGE as LANGID
from tasks.langid.stage import LangidParameters
from tasks.select.stage import STAGE as SELECT
from tasks.select.stage import SelectParameters
from tasks.signatures.stage import STAGE as SIGNATURES
from tasks.signatures.stage import SignaturesParameters
from tests.benchmarks.signature_corpus import CorpusParameters, SigningParameters, stages
from tests.stage_harness import run_stage

NETWORK = Network(https_mb_s=10, https_request_s=0.1, s3_mb_s=100, s3_request_s=0.02)


def cluster(**changes: object) -> Cluster:
    keys: dict[str, object] = {
        "nodes": 1,
        "cores": 10,
        "memory": 10**11,
        "network_gbit": 8,
        "disk": 10**13,
        "disk_mb_s": 1000,
        "price_hour": 2,
    }
    return Cluster.model_validate(keys | changes)


def work(**changes: object) -> Work:
    keys: dict[str, object] = {
        "id": "langid/web",
        "stage": "langid",
        "documents": 1e6,
        "text_bytes": 2.5e9,
        "kept": 1e6,
        "parts": 100,
        "core_s": 1000.0,
        "worker_bytes": 1e9,
        "known_from": "",
    }
    return Work(**(keys | changes))  # type: ignore[arg-type]


def flat(**stages: dict[str, object]) -> Costs:
    """Costs of these stages alone."""
    found = {name.replace("_warc", ".warc"): UnitCost(**cost) for name, cost in stages.items()}  # type: ignore[arg-type]
    return read_costs().model_copy(update={"stages": found})


def graph() -> Graph:
    found = Graph()
    ingest = found.add(INGEST, "web", IngestParameters(format="warc", paths=("a.warc",)))
    langid = found.add(LANGID, "web", LangidParameters(), documents=ingest)
    signed = found.add(SIGNATURES, "web", SignaturesParameters(), documents=ingest)
    sources = {"web": SourceCut(category="web")}
    cut = found.add(CUT, "main", CutParameters(sources=sources), documents=ingest, langid=langid)
    dedup = found.add(
        DEDUP, "main", DedupParameters(), cut=cut, documents=ingest, signatures=signed
    )
    found.add(
        SELECT,
        "web",
        SelectParameters(),
        documents=ingest,
        cut=cut,
        dedup=dedup,
        signatures=signed,
    )
    return found


SIZE = Size("warc", 1_100, 1_000, 2_000_000, 9e6, 4, "by hand", source_bytes=9e6, requests=4)
COSTS = flat(
    ingest_warc={"document_us": 5000, "text_share": 0.5, "document_bytes": 10},
    langid={"mb_ms": 100, "document_bytes": 8},
    signatures={"document_us": 40, "document_bytes": 2400},
    cut={"document_us": 1, "document_bytes": 2, "reads": {"ingest": 0.1}},
    dedup={
        "document_us": 10,
        "document_bytes": 20,
        "one_process_us": 2,
        "one_process_bytes": 8,
        "one_process_part_ms": 5,
        "scratch_bytes": 100,
        "reads": {"ingest": 0.0},
    },
    select={"mb_ms": 25, "text_share": 1, "document_bytes": 2000},
)


def test_documents_are_followed_from_stage_to_stage() -> None:
    nodes = graph().nodes.values()
    found = {w.stage: w for w in works(nodes, {"web": SIZE}, COSTS, Funnel({"web": 0.5}, 0.8, 0.3))}
    assert set(found) == {"ingest", "langid", "signatures", "cut", "dedup", "select"}
    ingest = found["ingest"]
    assert ingest.core_s == pytest.approx(1_100 * 0.005)
    assert ingest.writes == 1_000 * 10 + 1_000_000
    assert (ingest.source_bytes, ingest.requests, ingest.kept) == (9e6, 4, 1_000)
    assert found["langid"].core_s == pytest.approx(0.2)
    assert found["langid"].reads == ingest.writes
    assert found["cut"].documents == 1_000 and found["cut"].kept == 500
    # a tenth of the documents, and all of what langid wrote
    assert found["cut"].reads == pytest.approx(0.1 * ingest.writes + 8_000)
    dedup = found["dedup"]
    assert dedup.core_s == pytest.approx(500 * 10e-6)  # those that cut kept
    assert dedup.one_process_s == pytest.approx(1_000 * 2e-6 + 4 * 0.005)  # all rows are numbered
    assert (dedup.one_process_bytes, dedup.scratch, dedup.meeting) == (8_000, 50_000, 150)
    assert dedup.kept == pytest.approx(400)
    select = found["select"]
    assert select.documents == 1_000 and select.kept == pytest.approx(400)
    assert select.core_s == pytest.approx(0.05)  # it reads all text
    assert select.writes == pytest.approx(400 * 2_000 + 2_000_000 * 0.4)


def test_the_stores_own_costs_count_before_the_shipped_ones() -> None:
    own = UnitCost(document_us=1e6, origin="this store")  # type: ignore[call-arg]
    nodes = graph().nodes.values()
    found = works(nodes, {"web": SIZE}, COSTS, Funnel({}, 1.0), {"langid/web": own})
    langid = next(w for w in found if w.stage == "langid")
    assert langid.core_s == pytest.approx(1_000) and langid.known_from == "this store"


def test_time_above_what_was_measured_grows_with_the_exponent_and_never_slower() -> None:
    cost = UnitCost(document_us=10, exponent=1.5, measured_at=100)
    assert cost.seconds(100, 0) == pytest.approx(0.001)
    assert cost.seconds(10_000, 0) == pytest.approx(0.1 * 10)
    fixed = UnitCost(document_us=10, exponent=0.9, measured_at=100)
    assert fixed.seconds(10_000, 0) == pytest.approx(0.1)


def test_the_longest_wait_counts_and_one_process_comes_after_it() -> None:
    one = wall(work(one_process_s=7, reads=5e9, writes=5e9), cluster(), NETWORK, 10)
    assert (one.workers, one.parallel[PROCESSOR], one.parallel[DISK]) == (10, 100, 10)
    assert one.seconds == 107 and one.waits() == {PROCESSOR: 100, FILES: 0, ONE: 7}
    slow = wall(work(reads=5e11), cluster(), NETWORK, 10)
    assert slow.seconds == 500 and slow.waits() == {ONE: 0, DISK: 500}
    fast = wall(work(), cluster(speed=2.0), NETWORK, 10)
    assert fast.seconds == 50


def test_a_source_delivers_by_connections_or_network_and_requests_take_turns() -> None:
    https = wall(work(source_bytes=1e10, requests=10_000), cluster(), NETWORK, 10)
    assert https.parallel[SOURCE] == 100  # 10 connections of 10 MB/s
    assert https.parallel[REQUESTS] == 100  # 10,000 of 0.1 s, 10 at a time
    s3 = wall(work(source_bytes=1e10, requests=10_000, s3=True), cluster(), NETWORK, 100)
    assert s3.parallel[SOURCE] == 10  # 8 Gbit/s
    assert s3.parallel[REQUESTS] == 2
    several = wall(
        work(source_bytes=1e10, s3=True),
        cluster(nodes=5, store="network", source_gbit=16),
        NETWORK,
        100,
    )
    assert several.parallel[SOURCE] == 5


def test_bottlenecks_are_named_in_turn_with_what_to_change() -> None:
    todo = [
        work(
            id="ingest/web", stage="ingest", kind="warc", core_s=9_000, source_bytes=5e10, parts=500
        ),
        work(core_s=500),
        work(id="dedup/main", stage="dedup", core_s=100, one_process_s=600),
    ]
    timed = Timed(todo, cluster(), NETWORK, 10, Grouping(4, 2, 1e9, opens=1_000))
    first, second = timed.bottlenecks()
    # ingest: processor 900 s, network 500 s; langid 50 s; dedup 10 s, files 0.01 s, one process 600
    assert (first.stage, first.what, first.seconds) == ("ingest", PROCESSOR, 900)
    assert first.of == pytest.approx(900 + 50 + 10 + 0.01 + 600)
    assert "kind: wet" in first.change
    assert (second.stage, second.what, second.seconds) == ("dedup", ONE, 600)
    assert second.of == pytest.approx(500 + 50 + 10 + 0.01 + 600)
    assert "no number of nodes helps" in second.change
    slow = Timed(todo[:1], cluster(network_gbit=0.1), NETWORK, 10).bottlenecks(1)[0]
    assert slow.what == SOURCE and "the nodes take 0.1 Gbit/s together" in slow.change
    third = timed.bottlenecks(3)[2]
    assert (third.stage, third.what) == ("ingest", SOURCE) and "us-east-1" in third.change


def test_too_little_memory_and_too_few_parts_are_what_keeps_cores_idle() -> None:
    few = Timed([work(parts=2)], cluster(), NETWORK, 10).bottlenecks(1)[0]
    assert "2 parts keep 2 of the cores busy" in few.change
    small = Timed([work(worker_bytes=5e10)], cluster(), NETWORK, 10).bottlenecks(1)[0]
    assert "50.0 GB, so that only 2 of 10 cores work" in small.change
    assert Timed([work(core_s=0.0)], cluster(), NETWORK, 10).bottlenecks() == []


def test_opening_files_grows_with_parts_times_partitions() -> None:
    dedup = work(id="dedup/main", stage="dedup", core_s=0)
    grouped = grouping(1e9, 40_000, 3e8, 64e9, 100, 14, 8, 1)
    assert grouped.partitions == 2**14
    timed = Timed([dedup], cluster(cores=100), NETWORK, 10, grouped)
    first = timed.bottlenecks(1)[0]
    assert first.what == FILES and "fewer and larger parts" in first.change
    small = grouping(1e7, 400, 3e6, 1e9, 2, 14, 8, 1)
    assert small.opens < grouped.opens / 1_000


@pytest.mark.parametrize(("documents", "workers"), [(10_000, 1), (10**6, 2), (3 * 10**7, 8)])
def test_deduplication_is_divided_as_the_stage_divides_it(documents: int, workers: int) -> None:
    from infra.stage import StageError
    from infra.store.backends import open_directory
    from infra.store.exchange import Exchange
    from tasks.dedup.batch import bytes_per_document
    from tasks.dedup.run import Layout
    from tasks.duplicates.parts import SignedPart

    exchange = Exchange(open_directory("x"))
    rows = documents // 10
    parts = tuple(
        SignedPart(n, n * rows, rows, "web", f"{n}", "", 0, Path("d"), Path("s"), None, None, ())
        for n in range(10)
    )
    needed = needed_memory(documents, rows, workers, 14, 8)
    for memory in (max(int(needed) + 1, 10**7), 10**9, 8 * 10**9):
        if memory < needed:
            continue
        layout = Layout.of(parts, DedupParameters(memory=memory), workers, exchange)
        found = grouping(documents, 10, documents / 3, memory, workers, 14, 8, 1)
        assert found.partitions == layout.partitions
    if needed > 2 * 10**7:
        with pytest.raises(StageError, match=r"set dedup\.memory"):
            Layout.of(parts, DedupParameters(memory=int(needed * 0.99)), workers, exchange)
    assert bytes_per_document(14, 1) == 3 * (24 + 8 + 32) + 120 + 28 * 14


def test_files_are_opened_as_often_as_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[Path, str]] = []
    pieces = exchange._pieces

    def counted(folder: Path, wanted: Iterable[exchange.Piece]) -> Iterator[Any]:
        taken = list(wanted)
        opened.extend((folder, name) for name, _ in itertools.groupby(taken, lambda one: one[0]))
        return pieces(folder, taken)

    monkeypatch.setattr(exchange, "_pieces", counted)
    ingest, signatures, cut = stages()
    documents, memory = 20_000, 10**7
    given = {
        role: run_stage(stage, parameters(documents=documents), {}, name, tmp_path=tmp_path)
        for role, stage, parameters, name in (
            ("documents", ingest, CorpusParameters, "web"),
            ("signatures", signatures, SigningParameters, "web"),
            ("cut", cut, CorpusParameters, "main"),
        )
    }
    deduplicating = DedupParameters(prefer=("length",), memory=memory)
    made = run_stage(DEDUP, deduplicating, given, tmp_path=tmp_path)
    parts = len(given["documents"].files())
    meeting = made.statistics["candidate_documents"]
    found = grouping(documents, parts, meeting, memory, 1, 14, 8, 1)
    assert found.partitions > 1
    ends = len(set(opened))  # a process opens each once more, for where its edges are
    assert len(opened) - ends == pytest.approx(found.opens, rel=0.15)


def test_every_data_stage_has_a_cost_with_where_it_was_measured() -> None:
    costs = read_costs()
    for name in DATA_STAGES:
        cost = costs.stage(name)
        assert cost is not None and cost.origin, name
        assert cost.document_us or cost.mb_ms, name
    for kind in ("warc", "wet", "jsonl", "parquet", "hf", "text"):
        assert costs.stage("ingest", kind) is not None
        assert kind in costs.text
    assert all(text.origin for text in costs.text.values())
    assert costs.crawl.origin and costs.network.origin
    assert set(costs.kept) == set(costs.kept_from)


def test_costs_can_be_replaced_and_misspellings_are_named() -> None:
    changed = read_costs().replaced({"dedup": {"kept": 0.7}})
    assert changed.stages["dedup"].kept == 0.7
    assert changed.stages["dedup"].origin == "stated by you"
    with pytest.raises(RecipeError, match=r"'dedupe' is no data stage \(did you mean 'dedup'"):
        read_costs().replaced({"dedupe": {}})
    with pytest.raises(RecipeError, match=r"costs.dedup.keep"):
        read_costs().replaced({"dedup": {"keep": 1}})
    with pytest.raises(RecipeError, match=r"costs.dedup.kept"):
        read_costs().replaced({"dedup": {"kept": 2}})
