"""From a checkpoint back to the WARC files; a flipped byte is found."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from infra.store import Store, operations
from infra.store.store import LATEST
from tests.end_to_end.fixtures import Puna, SmallRun

pytestmark = pytest.mark.timeout(
    900
)  # the whole runs behind a first test take minutes on a busy machine


def files(tree: dict[str, Any]) -> dict[str, str]:
    found = {file["path"]: file["sha256"] for file in tree["files"]}
    for below in tree["inputs"]:
        found |= files(below)
    return found


def test_lineage_of_the_last_checkpoint_reaches_the_archives(
    puna: Puna, small_run: SmallRun
) -> None:
    version = next(s["version"] for s in small_run.done.json["stages"] if s["name"] == "second")
    done = puna(
        "artifacts", "lineage", f"training/second@{version}", "--store", small_run.url, "--json"
    )
    found = files(done.json)
    for archive in (small_run.recipe.parent / "crawl").glob("*.warc.gz"):
        assert found[str(archive)] == hashlib.sha256(archive.read_bytes()).hexdigest()
    shown = puna("artifacts", "lineage", f"training/second@{version}", "--store", small_run.url)
    assert (
        shown.stdout.startswith(f"training/second@{version}")
        and "0.warc.gz  sha256 " in shown.stdout
    )


def test_verify_finds_a_flipped_byte(puna: Puna, small_run: SmallRun, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(small_run.url, copy)
    clean = puna("artifacts", "verify", "--store", copy)
    assert clean.returncode == 0 and clean.stdout.endswith(" 0 problems\n")
    artifact = small_run.artifacts()["select/crawl"]
    name = artifact.files("web-zh/")[0]
    victim = copy / Path(artifact.path(name)).relative_to(small_run.url)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    found = puna("artifacts", "verify", "--store", copy)
    assert found.returncode == 1 and f"{artifact.identity}: {name} has sha256" in found.stdout
    assert found.stdout.endswith(" 1 problems\n")
    one = puna(
        "artifacts",
        "verify",
        f"{artifact.stage}/{artifact.name}@{artifact.version}",
        "--store",
        copy,
    )
    assert one.returncode == 1


def test_a_damaged_input_is_named_with_the_way_back_and_the_way_back_works(
    puna: Puna, small_run: SmallRun, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(small_run.url, copy)
    artifact = small_run.artifacts()["select/crawl"]
    name = artifact.files("web-zh/")[0]
    victim = copy / Path(artifact.path(name)).relative_to(small_run.url)
    text = victim.read_text(encoding="utf-8")
    victim.write_text(text.replace("的", "地", 1), encoding="utf-8")  # reads as well as before
    done = puna(
        "run",
        small_run.recipe,
        "--store",
        copy,
        "--only",
        "binning/web-zh",
        "--force",
        "binning/web-zh",
    )
    assert (
        done.returncode == 1
        and "Traceback" not in done.stderr
        and "compare the two" not in done.stderr
    )
    assert f"input {artifact.identity} is damaged: {victim} has sha256 " in " ".join(
        done.stderr.split()
    )
    assert (
        "puna run RECIPE --force select/crawl" in done.stderr
        and "run the same command" not in done.stderr
    )
    mended = puna(
        "run",
        small_run.recipe,
        "--store",
        copy,
        "--only",
        "select/crawl",
        "--force",
        "select/crawl",
    )
    assert mended.returncode == 0, mended.stderr
    again = Store.at(str(copy)).find(artifact.stage, artifact.name, artifact.version)
    assert again is not None and again.digest == artifact.digest and operations.verify(again) == []
    assert again.path(name).read_text(encoding="utf-8") == text


def test_reading_a_damaged_artifact_names_it(
    puna: Puna, small_run: SmallRun, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(small_run.url, copy)
    artifact = small_run.artifacts()["dedup/main"]
    victim = copy / Path(artifact.path("clusters.parquet")).relative_to(small_run.url)
    victim.write_bytes(victim.read_bytes()[:-20])
    Store.at(str(copy)).set_reference("small", artifact, LATEST)  # others may have run since
    done = puna("inspect", "--stage", "dedup/main", "--store", copy)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"{artifact.identity} is damaged: {victim} has " in done.stderr


def test_a_run_with_nothing_to_do_tells_of_files_that_are_gone(
    puna: Puna, small_run: SmallRun, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(small_run.url, copy)
    artifact = small_run.artifacts()["dedup/main"]
    folder = copy / Path(artifact.data.url).relative_to(small_run.url)
    all_there = len(list(Store.at(str(copy)).artifacts()))
    shutil.rmtree(folder.parent)
    done = puna("run", small_run.recipe, "--store", copy)
    assert done.returncode == 0 and "the files of 1 are damaged (see above)" in done.stdout
    assert "--force dedup/main builds it again" in " ".join(done.stdout.split())
    for words in (("path", f"dedup/main@{artifact.version}"), ("verify",)):
        found = puna("artifacts", *words, "--store", copy)
        assert found.returncode == 1 and "is missing" in found.stdout + found.stderr
    (copy / "dedup" / "main" / artifact.version / "manifest.json").write_text("{")
    for words in (("list",), ("verify",)):
        found = puna("artifacts", *words, "--store", copy)
        assert found.returncode == 1 and "Traceback" not in found.stderr
        assert "manifest.json is damaged" in found.stdout + found.stderr
    listed = puna("artifacts", "list", "--store", copy, "--json")
    assert listed.returncode == 1 and len(listed.json["artifacts"]) == all_there - 1


def test_what_is_missing_is_built_by_what_the_error_says(
    puna: Puna, small_run: SmallRun, tmp_path: Path
) -> None:
    asked = puna("plan", small_run.recipe, "--store", tmp_path / "new", "--only", "langid/letters")
    assert asked.returncode == 2 and "puna run RECIPE --until ingest/letters" in asked.stderr
