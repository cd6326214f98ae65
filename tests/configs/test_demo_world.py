"""The generated world keeps its promises: deterministic bytes, readable archives, questions that
give nothing away.
"""

from __future__ import annotations

import collections
import functools
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from fastwarc import ArchiveIterator, WarcRecordType

GENERATOR = Path(__file__).parents[2] / "configs" / "demo" / "generate.py"
LANGUAGES = ("en", "zh")


def write(folder: Path, seed: int = 0) -> Path:
    command = [sys.executable, str(GENERATOR), str(folder), "--seed", str(seed)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("world"))


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def questions(world: Path, language: str) -> list[dict]:
    return rows(world / "benchmarks" / f"questions-{language}.jsonl")


def pages(archive: Path) -> list[tuple[str, bytes]]:
    """(url, HTTP body) of every response, as fastwarc reads the file."""
    with archive.open("rb") as stream:
        found = []
        for record in ArchiveIterator(
            stream, record_types=WarcRecordType.response, parse_http=True
        ):
            found.append((record.headers["WARC-Target-URI"], record.reader.read()))
    return found


@functools.cache
def members(data: bytes) -> list[bytes]:
    """The gzip members that are whole, found by their fixed header."""
    whole = []
    for piece in data.split(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")[1:]:
        try:
            whole.append(gzip.decompress(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + piece))
        except (EOFError, OSError, gzip.zlib.error):
            continue
    return whole


def test_same_seed_same_bytes_other_seed_other_world(world: Path, tmp_path: Path) -> None:
    again, other = write(tmp_path / "again"), write(tmp_path / "other", seed=1)
    names = sorted(str(p.relative_to(world)) for p in world.rglob("*") if p.is_file())
    assert len(names) == 9
    assert names == sorted(str(p.relative_to(again)) for p in again.rglob("*") if p.is_file())
    for name in names:
        assert (world / name).read_bytes() == (again / name).read_bytes(), name
        assert (world / name).read_bytes() != (other / name).read_bytes(), name


def test_sizes_of_the_groups(world: Path) -> None:
    for language in LANGUAGES:
        count = collections.Counter(item["group"] for item in questions(world, language))
        assert count["known"] >= 200 and count["control"] >= 100 and count["leaked"] >= 50
        assert len({item["id"] for item in questions(world, language)}) == sum(count.values())


def test_a_preference_that_ignores_the_entity_scores_exactly_chance(world: Path) -> None:
    """By position, by length, alphabetically, or by any other fixed ranking of the options."""
    rankings = {
        "alphabet": lambda item: item["choices"].index(min(item["choices"])),
        "shortest": lambda item: item["choices"].index(
            min(item["choices"], key=lambda c: (len(c), c))
        ),
        "digest": lambda item: item["choices"].index(min(item["choices"], key=lambda c: c[::-1])),
        "first": lambda item: 0,
        "last": lambda item: 3,
    }
    for language in LANGUAGES:
        for group in ("known", "control", "leaked"):
            items = [item for item in questions(world, language) if item["group"] == group]
            for name, choose in rankings.items():
                right = sum(choose(item) == item["answer"] for item in items)
                assert right * 4 == len(items), (language, group, name)


def test_answers_and_distractors_follow_one_distribution(world: Path) -> None:
    for language in LANGUAGES:
        for group in ("known", "control", "leaked"):
            items = [item for item in questions(world, language) if item["group"] == group]
            offered = collections.Counter(choice for item in items for choice in item["choices"])
            right = collections.Counter(item["choices"][item["answer"]] for item in items)
            assert offered == {choice: 4 * n for choice, n in right.items()}


def test_archives_are_one_gzip_member_a_record(world: Path) -> None:
    for archive in sorted((world / "crawl").iterdir()):
        for record in members(archive.read_bytes()):
            assert record.startswith(b"WARC/1.0\r\n")
            head, _, block = record.partition(b"\r\n\r\n")
            length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
            assert block[length:] == b"\r\n\r\n"


def test_fastwarc_reads_every_page(world: Path) -> None:
    truth = {row["url"]: row for row in rows(world / "truth.jsonl")}
    read: dict[str, bytes] = {}
    for archive in sorted((world / "crawl").iterdir()):
        for record in members(archive.read_bytes()):
            for page in ArchiveIterator(io.BytesIO(record), record_types=WarcRecordType.response):
                read[page.headers["WARC-Target-URI"]] = page.reader.read()
    read = {url: body for url, body in read.items() if "broken" not in url}
    assert set(read) == set(truth)
    assert len(pages(world / "crawl" / "crawl-00.warc.gz")) > 900


def test_two_records_are_broken(world: Path) -> None:
    header = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    lost = 0
    for archive in sorted((world / "crawl").iterdir()):
        data = archive.read_bytes()
        lost += data.count(header) - len(members(data))
    assert lost == 2


def test_no_question_occurs_in_the_crawl_unless_it_is_leaked(world: Path) -> None:
    truth = {row["url"]: row["kind"] for row in rows(world / "truth.jsonl")}
    bodies: dict[bool, list[str]] = {True: [], False: []}
    for archive in sorted((world / "crawl").iterdir()):
        for record in members(archive.read_bytes()):
            if b"WARC-Type: response" not in record[:200] or b"broken" in record[:300]:
                continue
            url = record.split(b"WARC-Target-URI: ")[1].split(b"\r\n")[0].decode()
            charset = "gb18030" if b"charset=gb18030" in record[:800] else "utf-8"
            bodies[truth[url] == "leak"].append(record.decode(charset, errors="replace"))
    text = {leak: "\n".join(parts) for leak, parts in bodies.items()}
    for language in LANGUAGES:
        reference = (world / "reference" / f"{language}.jsonl").read_text(encoding="utf-8")
        for item in questions(world, language):
            assert item["question"] not in text[False] and item["question"] not in reference, item[
                "id"
            ]
            assert (item["question"] in text[True]) == (item["group"] == "leaked"), item["id"]
