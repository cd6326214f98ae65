"""The store: versions, commits, resume, references, verify, diff, lineage, garbage collection."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.build import LedgerDoesNotBalance, _check_ledger
from infra.process import is_alive, process_identity
from infra.stage import StageError
from infra.store import (
    Artifact,
    ArtifactMissing,
    Damaged,
    NotDeterministic,
    Store,
    operations,
    records,
)
from infra.store.backends import open_directory
from infra.store.identity import canonical, version_of
from infra.store.lease import _Watch, lease
from infra.store.records import PROBES
from infra.store.store import StoreUnusable
from tests.stage_harness import data_digests, run_stage
from tests.toy import TOY, ToyParameters


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_canonical_json_does_not_depend_on_order(value: dict[str, object]) -> None:
    assert canonical(value) == canonical(dict(reversed(value.items())))
    assert json.loads(canonical(value)) == value


@pytest.mark.parametrize("value", [{1, 2}, {"a": object()}, {1: "a"}, float("nan"), [b"x"]])
def test_values_without_a_canonical_form_are_refused(value: object) -> None:
    with pytest.raises(TypeError):
        canonical(value)


def test_version_depends_on_identity_only(tmp_path: Path) -> None:
    base = version_of(TOY, "main", ToyParameters(), {}, {})
    assert version_of(TOY, "main", ToyParameters(fail=(1,)), {}, {}) == base
    assert version_of(TOY, "main", ToyParameters(word="other"), {}, {}) != base
    assert version_of(TOY, "other", ToyParameters(), {}, {}) != base
    bumped = replace(TOY, version=2)
    assert version_of(bumped, "main", ToyParameters(), {}, {}) != base
    assert version_of(TOY, "main", ToyParameters(), {"up": ["a/b@1"]}, {}) != base


def test_a_failed_stage_resumes_and_leaves_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shard 2 is bad"):
        run_stage(TOY, ToyParameters(fail=(2,)), tmp_path=tmp_path)
    store = Store.at(str(tmp_path / "store"))
    assert list(store.artifacts()) == []
    (done,) = (tmp_path / "store").rglob("part-00000.txt")
    stamp = done.stat().st_mtime_ns
    artifact = run_stage(TOY, ToyParameters(), tmp_path=tmp_path)
    assert artifact.files() == ["part-00000.txt", "part-00001.txt", "part-00002.txt"]
    assert artifact.path("part-00000.txt").stat().st_mtime_ns == stamp
    assert [a.identity for a in store.artifacts()] == [artifact.identity]


def test_verify_finds_a_flipped_byte_and_a_missing_file(tmp_path: Path) -> None:
    artifact = run_stage(TOY, ToyParameters(), tmp_path=tmp_path)
    assert operations.verify(artifact) == []
    path = artifact.path("part-00001.txt")
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    artifact.path("part-00002.txt").unlink()
    problems = operations.verify(artifact)
    assert (
        len(problems) == 2
        and "part-00001.txt has sha256" in problems[0]
        and "part-00002.txt is missing" in problems[1]
    )


def test_force_replaces_an_artifact_that_lost_a_file(tmp_path: Path) -> None:
    artifact = run_stage(TOY, ToyParameters(), tmp_path=tmp_path)
    artifact.path("part-00002.txt").unlink()
    for use in (lambda: artifact.path("part-00002.txt"), artifact.folder):
        with pytest.raises(Damaged, match="has lost its data file part-00002"):
            use()
    again = run_stage(TOY, ToyParameters(), tmp_path=tmp_path, force=True)
    assert again.identity == artifact.identity and again.digest == artifact.digest
    assert operations.verify(again) == []


def test_what_is_damaged_is_named(tmp_path: Path) -> None:
    artifact = run_stage(TOY, ToyParameters(), tmp_path=tmp_path)
    store = Store.at(str(tmp_path / "store"))
    store.set_reference("r", artifact, "kept")
    for recipe, tag in (("r", "a/b"), ("..", "x"), ("r", "")):
        with pytest.raises(StageError, match="use letters, digits"):
            store.set_reference(recipe, artifact, tag)
    store.root.replace("refs/r/toy/main/kept.json", b"{")
    with pytest.raises(Damaged, match=r"kept\.json is damaged"):
        store.references()
    for text in (b"", b"{}", b"[1]", artifact.home.read("manifest.json")[:200]):
        artifact.home.replace("manifest.json", text)
        with pytest.raises(Damaged, match=r"manifest\.json is damaged"):
            list(store.artifacts())
    artifact.home.remove("manifest.json")
    assert run_stage(TOY, ToyParameters(), tmp_path=tmp_path).digest == artifact.digest


def test_what_can_be_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for url in (str(tmp_path / "file"), str(tmp_path / "file" / "below"), "nonsense://x"):
        with pytest.raises(StoreUnusable, match="is not a valid store"):
            Store.at(url)


def test_force_keeps_equal_bytes_and_refuses_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = run_stage(TOY, ToyParameters(), tmp_path=tmp_path)
    again = run_stage(TOY, ToyParameters(), tmp_path=tmp_path, force=True)
    assert again.digest == artifact.digest and again.manifest.attempt == artifact.manifest.attempt
    monkeypatch.setattr("tests.toy.write", _write_otherwise)
    with pytest.raises(NotDeterministic, match="rebuilt with other bytes"):
        run_stage(TOY, ToyParameters(shards=3), tmp_path=tmp_path, force=True)
    assert data_digests(artifact) == {out.path: out.sha256 for out in artifact.manifest.outputs}


def _write_otherwise(item: tuple[int, ToyParameters], shard: object) -> dict[str, int]:
    with shard.create(f"{shard.key}-x.txt") as path:  # type: ignore[attr-defined]
        path.write_text("else")
    return {"characters": 4}


def test_references_open_by_version_tag_and_latest(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path / "store"))
    one = run_stage(TOY, ToyParameters(), tmp_path=tmp_path)
    two = run_stage(TOY, ToyParameters(word="two"), tmp_path=tmp_path)
    store.set_reference("demo", two, "latest")
    store.set_reference("demo", one, "good")
    assert store.open("toy/main") == two and store.open("toy/main@good") == one
    assert store.open(f"toy/main@{one.version[:6]}") == one and store.open("toy") == two
    assert store.reference("demo", "toy", "main") == two.version
    with pytest.raises(ArtifactMissing, match="it has: toy/main@"):
        store.open("toy/main@nothing")
    with pytest.raises(ValueError, match="shard 0 is bad"):
        run_stage(TOY, ToyParameters(word="begun", fail=(0,)), tmp_path=tmp_path)
    (begun,) = {*store.root.child("toy/main").folders()} - {one.version, two.version}
    with pytest.raises(ArtifactMissing, match=rf"it has: .*toy/main@{begun} \(not finished\)"):
        store.open(f"toy/main@{begun}")
    assert any("parameters.word: toy -> two" in line for line in operations.diff(one, two))


def test_garbage_spares_what_is_referenced(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path / "store"))
    kept = run_stage(TOY, ToyParameters(), tmp_path=tmp_path)
    gone = run_stage(TOY, ToyParameters(word="gone"), tmp_path=tmp_path)
    store.set_reference("demo", kept, "latest")
    found = operations.garbage(store, keep_runs=1)
    assert [item.what for item in found] == [gone.identity]
    found[0].home.remove()
    assert [a.identity for a in store.artifacts()] == [kept.identity]


def test_the_only_version_needs_no_tag(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path / "store"))
    one = run_stage(TOY, ToyParameters(), tmp_path=tmp_path)
    assert store.open("toy/main").identity == one.identity  # as after `puna artifacts copy`
    with pytest.raises(ArtifactMissing, match="'toy/main' is not in the store"):
        store.open("toy/main", recipe="other")
    run_stage(TOY, ToyParameters(word="two"), tmp_path=tmp_path)
    with pytest.raises(ArtifactMissing, match="'toy/main' is not in the store"):
        store.open("toy/main")


def test_what_a_killed_run_left_for_its_nodes_is_no_record_and_can_go(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path / "store"))
    record = {
        "run": "1",
        "recipe": "r",
        "status": "running",
        "owner": process_identity(),
        "stages": [],
    }
    for content in ("96e0aa8d34b5df5a", "ab12", "{}"):  # some are JSON
        store.root.create(f"{PROBES}/{content}", content.encode())
    store.write_run("1", record)
    assert [found["run"] for found in store.runs()] == ["1"]
    assert list(records.damaged(store.root)) == []
    assert operations.garbage(store, keep_runs=1) == []  # a run in progress may need them
    store.write_run("1", record | {"status": "crashed"})
    (left,) = operations.garbage(store, keep_runs=1)
    assert left.what == "runs/.probes of runs that were killed" and left.bytes == 22
    left.home.remove()
    assert operations.garbage(store, keep_runs=1) == []
    assert [found["run"] for found in store.runs()] == ["1"]


def test_runs_that_built_nothing_do_not_count(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path / "store"))
    made = [
        run_stage(TOY, ToyParameters(word=f"word {number}"), tmp_path=tmp_path)
        for number in range(4)
    ]

    def record(number: int, artifact: Artifact, result: str) -> None:
        stage = {
            "stage": artifact.stage,
            "name": artifact.name,
            "version": artifact.version,
            "result": result,
        }
        body = {
            "run": f"{number}",
            "recipe": "r",
            "status": "completed",
            "owner": process_identity(),
            "stages": [stage],
        }
        store.write_run(f"{number}", body)

    for number, artifact in enumerate(made[:3]):
        record(number, artifact, "built")
    for number in range(3, 9):
        record(number, made[3], "hit")
    gone = {
        keep: {item.what for item in operations.garbage(store, keep_runs=keep)}
        for keep in (0, 1, 2, 3)
    }
    names = [artifact.identity for artifact in made]
    record(9, made[0], "built")
    store.write_run("9", store.runs()[-1] | {"status": "stopped-by-gate"})
    kept_by_a_gate = {item.what for item in operations.garbage(store, keep_runs=2)}
    assert kept_by_a_gate == {names[1]}
    assert gone == {0: {*names}, 1: {*names[:2]}, 2: {names[0]}, 3: set()}


def test_a_reference_that_names_no_stage_is_told_what_may_be_meant(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path / "store"))
    run_stage(TOY, ToyParameters(), name="inject", tmp_path=tmp_path)
    with pytest.raises(ArtifactMissing, match=r"has no stage 'inject'; did you mean toy/inject\?"):
        store.open("inject")
    with pytest.raises(ArtifactMissing, match=r"has no stage 'tyo'; it has: toy$"):
        store.open("tyo")


def test_an_unbalanced_ledger_fails() -> None:
    row = {
        "source": "s",
        "language": "en",
        "totals": {"documents": {"read": 3, "kept": 1, "dropped": 1}, "bytes": {}},
        "reasons": [{"side": "dropped", "reason": "x", "documents": 1, "bytes": 0}],
    }
    with pytest.raises(LedgerDoesNotBalance, match="read 3 documents but accounted for 2"):
        _check_ledger("toy/main", {"rows": [row]})


def test_a_lease_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    home = open_directory(str(tmp_path / "v"))
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    owner = process_identity() | {"pid": int(dead.stdout), "started": "1"}
    assert is_alive(process_identity()) is True and is_alive(owner) is False
    home.replace("lease.json", json.dumps(owner | {"heartbeat": 9e99, "thread": 0}).encode())
    waited: list[dict[str, object]] = []
    with lease(home, waited.append):
        assert home.read_json("lease.json")["pid"] == process_identity()["pid"]
    assert not waited and not home.exists("lease.json")


def test_a_lease_has_one_holder_though_all_ask_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.store.lease.POLL_S", 0.01)
    asked = _Watch.holder
    monkeypatch.setattr(
        _Watch, "holder", lambda watch, home: (asked(watch, home), time.sleep(0.01))[0]
    )
    home, all_there, inside, most = (
        open_directory(str(tmp_path / "v")),
        threading.Barrier(6),
        [],
        [0],
    )

    def hold(number: int) -> None:
        all_there.wait(timeout=120)
        with lease(home, lambda holder: None):
            inside.append(number)
            most[0] = max(most[0], len(inside))
            time.sleep(0.02)
            inside.remove(number)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(hold, range(6)))
    assert most == [1] and not home.exists("lease.json")


@pytest.mark.parametrize("apart_s", [0.0, -3600.0, 3600.0])
def test_a_lease_of_another_host_holds_while_it_beats_whatever_the_clocks_say(
    apart_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their clock, or ours since it was set, is an hour off; the holder dies after six beats."""
    monkeypatch.setattr("infra.store.lease.POLL_S", 0.01)
    monkeypatch.setattr("infra.store.lease.STALE_S", 0.5)
    home = open_directory(str(tmp_path / "v"))
    other = {"host": "another", "pid": 1, "started": "1", "thread": 0}
    beats: list[float] = []

    def beat() -> None:
        while len(beats) < 6:
            held = other | {"heartbeat": time.time() + apart_s}
            home.replace("lease.json", json.dumps(held).encode())
            beats.append(time.monotonic())
            time.sleep(0.2)

    holder = threading.Thread(target=beat)
    holder.start()
    while not beats:
        time.sleep(0.01)
    waited: list[dict[str, object]] = []
    with lease(home, waited.append):
        taken = time.monotonic()
    holder.join()
    assert len(beats) == 6 and [found["host"] for found in waited] == ["another"]
    assert 0.4 < taken - beats[-1] < 10


def test_two_processes_build_one_artifact(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        found = pool.starmap(_build, [(str(tmp_path),)] * 2)
    assert found[0] == found[1]


def _build(tmp_path: str) -> str:
    return run_stage(TOY, ToyParameters(shards=20), tmp_path=Path(tmp_path)).digest
