"""Crawls by id, by index and by path: the same documents under the same ids."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from infra.engine.config import EngineConfig
from infra.engine.start import start
from infra.remote.access import Access
from infra.remote.errors import Unreachable
from infra.remote.listing import Listing
from infra.stage import StageError
from tasks.ingest.commoncrawl.pinning import pin_crawls
from tasks.ingest.stage import STAGE, IngestParameters
from tests.loopback.commoncrawl import CRAWL, OLDER, Dump, collinfo, dump_of, generated, site
from tests.loopback.http import a_third, serving
from tests.loopback.s3 import s3_server
from tests.stage_harness import data_digests, run_stage
from tests.tasks.ingest.commoncrawl.crawled import ingested, parameters, rows, texts


@pytest.mark.real
def test_by_id_by_index_and_by_path_are_the_same(
    real_dump: Dump, access: Access, tmp_path: Path
) -> None:
    with serving(site([real_dump])) as server:
        by_id = ingested(parameters(server, files=1), access, tmp_path / "id")
        by_index = ingested(
            parameters(server, files=1, select={"mime": "text/html"}), access, tmp_path / "index"
        )
        (name,) = {row["file"] for row in rows(by_id)}
        file = tmp_path / "moved.warc.gz"
        file.write_bytes(real_dump.files[f"/{name}"])
        local = IngestParameters.model_validate({"format": "warc", "paths": [str(file)]})
        by_path = run_stage(STAGE, local, name="web", tmp_path=tmp_path / "path")
    assert len(texts(by_id)) > 100 and texts(by_id) == texts(by_path)
    assert texts(by_index).items() <= texts(by_id).items()
    left = {url for url, _ in texts(by_id).values()} - {url for url, _ in texts(by_index).values()}
    html = {row["url"] for row in real_dump.rows if row["content_mime_detected"] == "text/html"}
    assert not left & html
    offsets = {row["id"]: row["offset"] for row in rows(by_path)}
    assert all(offsets[row["id"]] == row["offset"] for row in rows(by_index))
    for artifact in (by_id, by_index, by_path):
        assert {row["dump"] for row in rows(artifact)} == {CRAWL}


@pytest.mark.real
def test_a_language_of_one_percent_takes_three_percent_of_the_bytes(
    real_dump: Dump, access: Access, tmp_path: Path
) -> None:
    languages = real_dump.languages()
    share = languages["fra"] / languages.total()
    with serving(site([real_dump])) as server:
        made = ingested(parameters(server, select={"languages": "fr"}), access, tmp_path)
        assert len(rows(made)) == languages["fra"] and 0.008 < share < 0.0102
        assert server.sent_bytes <= 0.03 * real_dump.archive_bytes()
        assert len(server.seen) < 30
    found = pq.read_table(made.path("index-00000.parquet"))
    assert found.num_rows + pq.read_table(made.path("index-00001.parquet")).num_rows == 5
    assert set(found["content_languages"].to_pylist()) <= {"fra"}
    assert made.statistics["index_records"] == 527 and made.statistics["wanted_records"] == 5


@pytest.mark.parametrize("stated", [{}, {"select": {"languages": ["zh", "fr"]}}])
def test_a_faulty_server_gives_the_same_bytes(
    small_dump: Dump, access: Access, tmp_path: Path, stated: dict[str, Any]
) -> None:
    with serving(site([small_dump])) as server:
        clean = ingested(parameters(server, **stated), access, tmp_path / "clean")
        server.faults, server.seen = a_third, []
        other = replace(access, cache=tmp_path / "other-cache")
        faulty = ingested(parameters(server, **stated), other, tmp_path / "faulty")
        assert sum(seen.fault is not None for seen in server.seen) > 3
    assert data_digests(faulty) == data_digests(clean)
    assert faulty.version == clean.version and len(rows(clean)) > 15


def test_engines_write_the_same_bytes(small_dump: Dump, access: Access, tmp_path: Path) -> None:
    with serving(site([small_dump])) as server:
        given = parameters(server, select={"languages": ["en", "zh"]})
        inline = ingested(given, access, tmp_path / "inline")
        with start(EngineConfig(kind="processes", workers=2)) as engine:
            other = ingested(given, access, tmp_path / "processes", engine=engine)
    assert data_digests(inline) == data_digests(other)


def test_a_stopped_run_looks_up_and_fetches_nothing_twice(
    small_dump: Dump, access: Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.ingest.commoncrawl.parts.PART_BYTES", (2_000, 2_000))
    last = f"/{small_dump.paths('warc')[-1]}"
    with serving(site([small_dump])) as server:
        given = parameters(server, select={"languages": "zh"})
        server.denied = frozenset([last])
        with pytest.raises(StageError, match="refused"):
            ingested(given, access, tmp_path / "a")
        server.denied, asked = frozenset(), len(server.seen)
        made = ingested(given, access, tmp_path / "a")
        later = [seen.path for seen in server.seen[asked:]]
        assert not any(".parquet" in path for path in later)
        assert last in later and f"/{small_dump.paths('warc')[0]}" not in later
        assert data_digests(made) == data_digests(ingested(given, access, tmp_path / "b"))


def test_wet_and_limits(small_dump: Dump, access: Access, tmp_path: Path) -> None:
    with serving(site([small_dump])) as server:
        made = ingested(parameters(server, kind="wet"), access, tmp_path / "all")
        assert [row["text"][:8] for row in rows(made)] == [
            f"Text {archive}.{at}" for archive in (1, 2) for at in range(4)
        ]
        few = ingested(parameters(server, kind="wet", limit=3), access, tmp_path / "few")
        assert rows(few) == rows(made)[:3]


def test_archives_that_are_gone_are_counted_up_to_a_share(
    small_dump: Dump, access: Access, tmp_path: Path
) -> None:
    missing = small_dump.paths("warc")[1]
    there = {p: body for p, body in site([small_dump]).items() if p != f"/{missing}"}
    of_archive = [row for row in small_dump.rows if row["warc_filename"] == missing]
    lost = sum(row["fetch_status"] == 200 for row in of_archive)
    with serving(there) as server:
        for stated in ({}, {"select": {"tlds": ["test"]}}):
            with pytest.raises(StageError, match=r"1 of 3 listed files are gone.*missing_share"):
                ingested(parameters(server, **stated), access, tmp_path / f"strict{len(stated)}")
            made = ingested(
                parameters(server, missing_share=0.5, **stated), access, tmp_path / f"{len(stated)}"
            )
            assert made.statistics["gone_files"] == 1
            assert made.ledger.documents("failed", "gone") == (lost if stated else 1)
            assert missing not in {row["file"] for row in rows(made)}


def test_an_index_of_other_archives_is_refused(
    small_dump: Dump, access: Access, tmp_path: Path
) -> None:
    page = b"<html><body>Sign in to continue</body></html>" * 9_000
    strange = {f"/{path}": page for path in small_dump.paths("warc")}
    with (
        serving(site([small_dump]) | strange) as server,
        pytest.raises(StageError, match=r"records are not where the index says.*Check host"),
    ):
        ingested(parameters(server, select={"languages": "zh"}), access, tmp_path)


def test_nothing_wanted_says_what_there_is(
    small_dump: Dump, access: Access, tmp_path: Path
) -> None:
    with (
        serving(site([small_dump])) as server,
        pytest.raises(StageError, match=r"no record of .* wants.*eng, zho"),
    ):
        ingested(parameters(server, select={"languages": "sv"}), access, tmp_path)


def test_hosts_and_choices_of_archives_are_not_the_version(
    small_dump: Dump, access: Access, tmp_path: Path
) -> None:
    with serving(site([small_dump])) as one, serving(site([small_dump])) as other:
        first = ingested(parameters(one), access, tmp_path / "a")
        second = ingested(parameters(other, files=3), access, tmp_path / "b")
        third = ingested(parameters(other, files=2), access, tmp_path / "c")
    assert first.version == second.version != third.version
    assert texts(third).items() < texts(first).items()


def test_from_s3(small_dump: Dump, access: Access, tmp_path: Path) -> None:
    with serving(site([small_dump])) as server, s3_server() as s3:
        for path, body in small_dump.files.items():
            s3.put("commoncrawl", path[1:], body)
        given = parameters(server, select={"languages": "zh"})
        there = IngestParameters.model_validate({**given.model_dump(), "host": "s3://commoncrawl/"})
        asked = len(server.seen)
        by_s3 = ingested(there, access, tmp_path / "s3")
        assert [seen.path for seen in server.seen[asked:]] == ["/collinfo.json"]
        by_http = ingested(given, access, tmp_path / "http")
    assert by_s3.version == by_http.version and data_digests(by_s3) == data_digests(by_http)


def test_latest_goes_on_from_what_was_read(
    small_dump: Dump, access: Access, tmp_path: Path
) -> None:
    newer = dump_of(generated(8), crawl="CC-MAIN-2024-26", archives=1)
    with serving(site([small_dump])) as server:
        given = parameters(server, crawl="latest")
        first = ingested(given, access, tmp_path)
        history = Listing(access, lambda: [first.manifest])
        assert pin_crawls(given, history) == first.manifest.pins  # nothing new
        server.files |= newer.files | {"/collinfo.json": collinfo([newer.crawl, CRAWL])}
        (listing, archive) = pin_crawls(given, history)["crawl"]
        assert newer.crawl in listing.name and newer.crawl in archive.name


def test_an_index_without_languages(small_dump: Dump, access: Access) -> None:
    older = dump_of(generated(8), crawl=OLDER, archives=1)
    mislabelled = dump_of(generated(8), crawl=OLDER, archives=1)
    files = {p.replace(OLDER, "CC-MAIN-2024-26"): body for p, body in mislabelled.files.items()}
    for path in [path for path in files if path.endswith(".paths.gz")]:
        text = gzip.decompress(files[path]).decode().replace(OLDER, "CC-MAIN-2024-26")
        files[path] = gzip.compress(text.encode())
    served = older.files | files | {"/collinfo.json": collinfo([OLDER, "CC-MAIN-2024-26"])}
    with serving(served) as server:
        for crawl, why in (
            (OLDER, "has no languages; it has them since CC-MAIN-2018-39"),
            ("CC-MAIN-2024-26", "no column 'content_languages'"),
        ):
            given = parameters(server, crawl=crawl, select={"languages": "en"})
            with pytest.raises(StageError, match=why):
                pin_crawls(given, Listing(access))
        by_domain = parameters(server, crawl=OLDER, select={"tlds": "test"})
        assert len(pin_crawls(by_domain, Listing(access))["select"]) == 3


def test_without_a_network_what_was_planned_stands(small_dump: Dump, access: Access) -> None:
    with serving(site([small_dump])) as server:
        given = parameters(server, select={"languages": "zh"})
        online = pin_crawls(given, Listing(access))
    assert pin_crawls(given, Listing(replace(access, retry_limit_s=0.0))) == online
    empty = replace(access, cache=access.cache / "none", retry_limit_s=0.0)
    with pytest.raises(Unreachable):
        pin_crawls(given, Listing(empty))


@pytest.mark.parametrize(
    "stated, why",
    [
        ({"crawl": ()}, "crawl is missing"),
        ({"kind": "wet", "select": {"tlds": "fr"}}, "no places of WET records"),
        ({"files": 2, "sample": 0.5}, "files or sample, not both"),
        ({"select": {}}, "select is empty"),
        ({"select": {"domains": ["https://example.org/"]}}, "no host name"),
        ({"select": {"mime": ["html"]}}, "no media type"),
        ({"host": "commoncrawl"}, "begins with http:// or https:// or s3://"),
        ({"format": "warc", "paths": ["a"]}, "crawl applies to format commoncrawl"),
    ],
)
def test_parameters_that_do_not_fit(stated: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        IngestParameters.model_validate({"format": "commoncrawl", "crawl": CRAWL} | stated)
