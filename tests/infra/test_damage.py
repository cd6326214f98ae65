"""Damage in the store is reported with the file and the remedy, whatever failure it causes."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.planning.resolve import Digests
from flows.running.record import mark_crashed
from infra.context import Context
from infra.engine.base import Inline
from infra.io import files
from infra.process import process_identity
from infra.stage import GateError, Outcome, StageError
from infra.store import (
    Artifact,
    Damaged,
    NotDeterministic,
    Shard,
    Store,
    backends,
    damage,
    operations,
)
from infra.store.attempt import Attempt
from infra.store.lease import lease
from tests.stage_harness import pin, run_stage
from tests.toy import READER, TOY, ToyParameters


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


DAMAGES = (flip, cut, empty, remove)
PROBLEM = (
    r"(has sha256 \w{12}, its manifest says \w{12}|has \d+ bytes, its manifest says \d+"
    r"|is missing|has lost its)"
)


@pytest.fixture
def made(tmp_path: Path) -> tuple[Artifact, Artifact]:
    first = run_stage(TOY, ToyParameters(), tmp_path=tmp_path)
    return first, run_stage(READER, ToyParameters(), {"up": first}, tmp_path=tmp_path)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("failure", [None, 0, 1, 2, 3, 4])
def test_a_stage_that_fails_on_a_damaged_input_is_not_blamed(
    damage: Any, failure: int | None, made: tuple[Artifact, Artifact], tmp_path: Path
) -> None:
    """`failure` None: the build would be called not deterministic; else it raises an error."""
    first, _ = made
    damage(first.path("part-00001.txt"))
    parameters = ToyParameters(fail=() if failure is None else (failure,))
    with pytest.raises(Damaged, match=PROBLEM) as caught:
        run_stage(READER, parameters, {"up": first}, tmp_path=tmp_path, force=True)
    said = str(caught.value)
    assert (
        first.identity in said
        and "part-00001.txt" in said
        and "puna run RECIPE --force toy/main" in said
    )
    if damage is flip:  # seen before it is read, whatever the stage would have made of it
        assert "reader/main cannot be built: its input" in said
    again = run_stage(TOY, ToyParameters(), tmp_path=tmp_path, force=True)
    assert operations.verify(again) == [] and again.digest == first.digest
    if failure is None:
        assert (
            run_stage(READER, parameters, {"up": again}, tmp_path=tmp_path, force=True).digest
            == made[1].digest
        )


@pytest.mark.parametrize(
    ("failure", "kind"), [(0, KeyError), (1, StageError), (2, GateError), (4, MemoryError)]
)
def test_a_failure_on_whole_inputs_stays_what_it_is(
    failure: int, kind: type[Exception], made: tuple[Artifact, Artifact], tmp_path: Path
) -> None:
    with pytest.raises(kind, match="of all things") as caught:
        run_stage(
            READER, ToyParameters(fail=(failure,)), {"up": made[0]}, tmp_path=tmp_path, force=True
        )
    assert not isinstance(caught.value, Damaged)


def test_every_damaged_file_of_every_input_is_named_up_to_a_few(tmp_path: Path) -> None:
    many = run_stage(TOY, ToyParameters(shards=9), tmp_path=tmp_path)
    other = run_stage(TOY, ToyParameters(word="other"), name="other", tmp_path=tmp_path)
    for name in many.files():
        flip(many.path(name))
    flip(other.path("part-00000.txt"))
    with pytest.raises(Damaged) as caught:
        run_stage(READER, ToyParameters(fail=(0,)), {"up": [many, other]}, tmp_path=tmp_path)
    said = str(caught.value)
    assert said.count("has sha256") == 6 and "and 4 more" in said
    assert "--force toy/main --force toy/other" in said


def test_a_file_of_the_user_that_was_changed_under_a_run_is_named(tmp_path: Path) -> None:
    given = tmp_path / "given.txt"
    given.write_text("as planned")
    first = run_stage(TOY, ToyParameters(), tmp_path=tmp_path)
    pins = {"paths": (pin(given),)}
    given.write_text("grown since it was planned")
    with pytest.raises(
        Damaged, match=r"given\.txt had 10 bytes when the run was planned, and has 26 now"
    ):
        run_stage(READER, ToyParameters(fail=(0,)), {"up": first}, tmp_path=tmp_path, pins=pins)
    given.unlink()
    with pytest.raises(
        Damaged, match=r"given\.txt existed when the run was planned and does not now"
    ):
        run_stage(READER, ToyParameters(fail=(0,)), {"up": first}, tmp_path=tmp_path, pins=pins)


def test_other_bytes_of_whole_inputs_name_what_changed(
    made: tuple[Artifact, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.toy._copy", _copy_otherwise)
    with pytest.raises(
        NotDeterministic, match=r"rebuilt with other bytes: all\.txt differ.*please report it"
    ):
        run_stage(READER, ToyParameters(), {"up": made[0]}, tmp_path=tmp_path, force=True)
    monkeypatch.setattr("infra.build._environment", lambda: {"libraries": {"numpy": "0.1"}})
    with pytest.raises(
        NotDeterministic, match=r"Changed since it was built: environment\.libraries: .*numpy"
    ):
        run_stage(READER, ToyParameters(), {"up": made[0]}, tmp_path=tmp_path, force=True)


def _copy_otherwise(text: bytes, shard: Any) -> dict[str, Any]:
    with shard.create("all.txt") as path:
        path.write_bytes(text[::-1])
    return {}


def test_no_byte_of_a_manifest_changes_without_notice(
    made: tuple[Artifact, Artifact], tmp_path: Path
) -> None:
    home, store = made[1].home, Store.at(str(tmp_path / "store"))
    whole = home.read("manifest.json")
    written = {key: value for key, value in made[1].manifest.data.items() if key != "checksum"}
    for at in range(0, len(whole), 13):
        data = bytearray(whole)
        data[at] ^= 1
        home.replace("manifest.json", bytes(data))
        try:
            found = store.find(made[1].stage, made[1].name, made[1].version)
        except Damaged as error:
            assert "manifest.json is damaged" in str(error) and "remove that file" in str(error)
        else:  # white space between tokens, or the checksum's own name
            assert found is not None
            assert {key: found.manifest.data.get(key) for key in written} == written
    for length in range(0, len(whole) - 1, 50):
        home.replace("manifest.json", whole[:length])
        with pytest.raises(Damaged, match=r"manifest\.json is damaged"):
            store.find(made[1].stage, made[1].name, made[1].version)


def test_a_manifest_that_was_cut_short_is_made_again_as_its_message_says(
    made: tuple[Artifact, Artifact], tmp_path: Path
) -> None:
    manifest = Path(made[0].home.url, "manifest.json")
    cut(manifest)
    with pytest.raises(Damaged) as caught:
        run_stage(TOY, ToyParameters(), tmp_path=tmp_path)
    said = str(caught.value)
    assert "run the recipe again with --force toy/main, which builds it again" in said
    assert f"puna artifacts verify --store {tmp_path / 'store'}" in said
    manifest.unlink()
    again = run_stage(TOY, ToyParameters(), tmp_path=tmp_path, force=True)
    assert again.digest == made[0].digest and operations.verify(again) == []


def test_a_stage_whose_manifest_is_lost_does_not_rely_on_scratch_that_is_gone(
    tmp_path: Path,
) -> None:
    """Its shards exchange files in scratch, which a commit removes."""
    two = dataclasses.replace(TOY, run="tests.infra.test_damage:run_in_two_steps")
    first = run_stage(two, ToyParameters(), tmp_path=tmp_path)
    assert not [*(tmp_path / "store").rglob("shards")]
    Path(first.home.url, "manifest.json").unlink()
    again = run_stage(two, ToyParameters(), tmp_path=tmp_path)
    assert again.digest == first.digest and again.path("all.txt").read_text() == "in scratch"


def run_in_two_steps(context: Context) -> Outcome:
    """Write to scratch in one shard, and read it in the next."""
    scratch = context.scratch() / "text"
    context.map(_write_scratch, {"first": scratch})
    context.map(_read_scratch, {"second": scratch})
    return Outcome({})


def _write_scratch(scratch: Path, shard: Shard) -> dict[str, Any]:
    scratch.write_text("in scratch")
    return {}


def _read_scratch(scratch: Path, shard: Shard) -> dict[str, Any]:
    with shard.create("all.txt") as path:
        path.write_text(scratch.read_text())
    return {}


def test_what_was_made_while_an_input_was_written_to_is_not_kept(
    made: tuple[Artifact, Artifact], tmp_path: Path
) -> None:
    first, file = made[0], made[0].path("part-00001.txt")
    whole = file.read_bytes()

    class Meanwhile(Inline):
        def map(self, *arguments: Any, **named: Any) -> Iterator[Any]:
            file.write_bytes(whole)  # `READER` has read it
            return super().map(*arguments, **named)

    parameters, inputs = ToyParameters(), {"up": first}
    with pytest.raises(Damaged, match="reader/other is not kept: its input toy/main@") as caught:
        run_stage(READER, parameters, inputs, "other", tmp_path=tmp_path, engine=Meanwhile())
    assert "part-00001.txt was written to while it was read" in str(caught.value)
    assert not [*(tmp_path / "store").glob("reader/other/*/manifest.json")]
    run_stage(READER, parameters, inputs, "other", tmp_path=tmp_path)


def test_what_was_made_of_a_changed_file_of_the_user_is_not_kept(
    made: tuple[Artifact, Artifact], tmp_path: Path
) -> None:
    """The same size, which the plan has pinned; written anew with the same bytes is no change."""
    given = tmp_path / "given.txt"
    given.write_text("as planned")
    pins = {"paths": (Digests(tmp_path / "digests.json").pin(given, "given.txt"),)}
    given.write_text("as planned")
    run_stage(READER, ToyParameters(), {"up": made[0]}, "same", tmp_path=tmp_path, pins=pins)
    given.write_text("AS PLANNED")
    with pytest.raises(Damaged, match=r"reader/other is not kept.*given\.txt holds other bytes"):
        run_stage(READER, ToyParameters(), {"up": made[0]}, "other", tmp_path=tmp_path, pins=pins)
    assert not [*(tmp_path / "store").rglob("reader/other/*/*/*")]  # nothing that could be used


def test_shards_of_a_file_that_was_changed_and_put_back_are_done_again(tmp_path: Path) -> None:
    """The run that read it was killed, so nobody has looked whether it was still whole."""
    given = tmp_path / "given.txt"
    given.write_text("as planned")
    pins = {"paths": (Digests(tmp_path / "digests.json").pin(given, "given.txt"),)}

    def broken_off() -> int:
        with pytest.raises(ValueError, match="shard 2 is bad"):
            run_stage(TOY, ToyParameters(fail=(2,)), tmp_path=tmp_path, pins=pins)
        (file,) = (tmp_path / "store").rglob("data/part-00000.txt")
        return file.stat().st_mtime_ns

    first = broken_off()
    assert broken_off() == first
    times = given.stat()
    given.write_text("AS PLANNED")
    given.write_text("as planned")
    os.utime(given, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert broken_off() != first
    made = run_stage(TOY, ToyParameters(), tmp_path=tmp_path, pins=pins)
    assert operations.verify(made) == []
    assert not [*(tmp_path / "store").rglob("files")]


def test_a_file_is_read_for_its_checksum_once_until_it_is_written_to(
    made: tuple[Artifact, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, file = made[0], made[0].path("part-00000.txt")
    monkeypatch.setattr(damage, "sha256_file", lambda path: "read again")
    assert first.path("part-00000.txt") == file
    flip(file)
    with pytest.raises(Damaged, match=r"part-00000\.txt has sha256 read again, its manifest says"):
        first.path("part-00000.txt")


def test_a_manifest_of_before_there_were_checksums_is_read(
    made: tuple[Artifact, Artifact], tmp_path: Path
) -> None:
    home, store = made[0].home, Store.at(str(tmp_path / "store"))
    manifest = home.read_json("manifest.json")
    del manifest["checksum"]
    home.replace("manifest.json", json.dumps(manifest).encode())
    assert store.find(made[0].stage, made[0].name, made[0].version) == made[0]
    manifest["outputs"][0]["sha256"] = "0" * 64
    home.replace("manifest.json", json.dumps(manifest).encode())
    with pytest.raises(Damaged, match="its list of files does not match its digest"):
        store.find(made[0].stage, made[0].name, made[0].version)


@pytest.mark.parametrize("damage", [cut, empty, remove])
@pytest.mark.parametrize("victim", ["record", "file"])
def test_a_finished_shard_that_is_damaged_is_done_again(
    damage: Any, victim: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="shard 2 is bad"):
        run_stage(TOY, ToyParameters(fail=(2,)), tmp_path=tmp_path)
    (record,) = (tmp_path / "store").rglob("shards/part-00000.json")
    (file,) = (tmp_path / "store").rglob("data/part-00000.txt")
    damage(record if victim == "record" else file)
    artifact = run_stage(TOY, ToyParameters(), tmp_path=tmp_path)
    assert (
        operations.verify(artifact) == []
        and artifact.path("part-00000.txt").read_text() == "toy 0\n"
    )


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"host": null}', b"\xff\xfe", b'{"pid": "x", "heartbeat": "y"}']
)
def test_a_damaged_lease_is_nobodys(text: bytes, tmp_path: Path) -> None:
    home = Store.at(str(tmp_path)).home("toy", "main", "v")
    here = json.dumps({"host": process_identity()["host"], "pid": "x"}).encode()
    for damaged in (text, here, b'{"host": "elsewhere"}'):
        home.replace("lease.json", damaged)
        waited: list[Any] = []
        with lease(home, waited.append):
            assert not waited


@pytest.mark.parametrize("text", [b"", b"{}", b'{"version": 3}', b"\xff", b"[" * 100_000])
def test_damaged_references_and_run_records_are_named(
    text: bytes, made: tuple[Artifact, Artifact], tmp_path: Path
) -> None:
    store = Store.at(str(tmp_path / "store"))
    store.set_reference("r", made[0], "latest")
    store.root.replace("refs/r/toy/main/latest.json", text)
    for read in (store.references, lambda: store.reference("r", "toy", "main")):
        with pytest.raises(Damaged, match=r"latest\.json is damaged.*; remove that file"):
            read()
    store.root.replace("runs/one.json", text)
    with pytest.raises(Damaged, match=r"one\.json is damaged.*; remove that file"):
        store.runs()


def test_a_folder_in_place_of_a_manifest_is_named(
    made: tuple[Artifact, Artifact], tmp_path: Path
) -> None:
    made[0].home.remove("manifest.json")
    (tmp_path / "store" / "toy" / "main" / made[0].version / "manifest.json").mkdir()
    with pytest.raises(Damaged, match=r"manifest\.json is a folder, and a file .*; remove it"):
        Store.at(str(tmp_path / "store")).find("toy", "main", made[0].version)


def place_file(path: Path) -> None:
    """A file in place of that folder, or of the folder above it."""
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("in the way")


@pytest.mark.parametrize("place", ["toy", "toy/main", "toy/main/{version}", "refs", "refs/r/toy"])
def test_a_file_in_place_of_a_folder_is_named_by_whoever_reads_or_writes_there(
    place: str, made: tuple[Artifact, Artifact], tmp_path: Path
) -> None:
    toy, store = made[0], Store.at(str(tmp_path / "store"))
    store.set_reference("r", toy, "latest")
    path = tmp_path / "store" / place.format(version=toy.version)
    place_file(path)
    said = re.escape(f"{path} is a file, and a folder of the store belongs there; remove it")
    if place.startswith("refs"):
        with pytest.raises(Damaged, match=said):
            store.set_reference("r", toy, "latest")
        with pytest.raises(Damaged, match=said):
            store.reference("r", "toy", "main")
    else:
        with pytest.raises(Damaged, match=said):
            store.find("toy", "main", toy.version)
        for write in (
            lambda: toy.home.create("x/new.json", b""),
            lambda: toy.home.replace("x/new.json", b""),
            lambda: toy.home.staging("x/new.json"),
        ):
            with pytest.raises(Damaged, match=said):
                write()
    path.unlink()  # what it says to do
    again = run_stage(TOY, ToyParameters(), tmp_path=tmp_path, force=True)
    assert again.digest == toy.digest
    store.set_reference("r", again, "latest")


def test_a_file_in_place_of_the_records_and_a_folder_in_place_of_a_lease_are_named(
    tmp_path: Path,
) -> None:
    store = Store.at(str(tmp_path / "store"))
    place_file(tmp_path / "store" / "runs")
    said = "store/runs is a file, and a folder of the store belongs there; remove it"
    with pytest.raises(Damaged, match=said):
        store.write_run("one", RECORD)
    with pytest.raises(Damaged, match="store/runs is damaged"):
        store.runs()
    home = store.home("toy", "main", "v")
    (tmp_path / "store" / "toy" / "main" / "v" / "lease.json").mkdir(parents=True)
    named = pytest.raises(Damaged, match=r"lease\.json is a folder, and a file of the store")
    with named, lease(home, lambda holder: None):
        pass


RECORD: dict[str, Any] = {
    "run": "one",
    "recipe": "r",
    "status": "running",
    "owner": process_identity(),
    "stages": [{"stage": "toy", "name": "main", "version": "v"}],
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"owner": None},
        {"owner": {}},
        {"owner": {"host": process_identity()["host"], "pid": "x"}},
        {"owner": {"host": None, "pid": 1}},
        {"owner": {"host": process_identity()["host"]}},
        {"owner": [1]},
        {"stages": None},
        {"stages": ["toy/main"]},
        {"stages": [{}]},
        {"stages": [{"stage": "toy", "name": None, "version": "v"}]},
        {"status": None},
        {"run": 7},
    ],
)
def test_a_run_record_with_other_values_is_named_before_anything_reads_it(
    wrong: dict[str, Any], tmp_path: Path
) -> None:
    store = Store.at(str(tmp_path / "store"))
    store.write_run("one", RECORD)
    assert operations.garbage(store, keep_runs=1) == [] and mark_crashed(store) == []
    store.write_run("one", RECORD | wrong)
    for read in (lambda: operations.garbage(store, keep_runs=1), lambda: mark_crashed(store)):
        with pytest.raises(Damaged, match=r"one\.json is damaged \(.*\); remove that file"):
            read()


def test_one_damaged_manifest_does_not_hide_the_others(
    made: tuple[Artifact, Artifact], tmp_path: Path
) -> None:
    toy, reader = made
    store = Store.at(str(tmp_path / "store"))
    toy.home.replace("manifest.json", b"{")
    store.root.replace("runs/one.json", b"")
    store.root.replace("refs/r/toy/main/latest.json", b"[]")
    store.root.replace("refs/notes.txt", b"{}")
    damaged: list[str] = []
    assert [found.identity for found in store.artifacts(damaged)] == [reader.identity]
    assert len(damaged) == 1 and f"{toy.home.url}/manifest.json is damaged" in damaged[0]
    records = list(store.damaged_records())
    assert len(records) == 3 and all("remove that file" in problem for problem in records)
    with pytest.raises(Damaged):  # nothing is deleted by what can be read alone
        operations.garbage(store, keep_runs=1)


def test_a_manifest_without_checksum_is_read_whole_before_it_counts(
    made: tuple[Artifact, Artifact], tmp_path: Path
) -> None:
    toy, store = made[0], Store.at(str(tmp_path / "store"))
    old = {key: value for key, value in toy.manifest.data.items() if key != "checksum"}
    for key, value in (("timings", {}), ("inputs", {"up": ["x"]}), ("pins", {"p": [{}]})):
        toy.home.replace("manifest.json", json.dumps(old | {key: value}).encode())
        with pytest.raises(Damaged, match=r"manifest\.json is damaged \(it cannot be read"):
            store.find("toy", "main", toy.version)
    toy.home.replace("manifest.json", json.dumps(old).encode())
    assert store.find("toy", "main", toy.version) is not None


def place_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere")


@pytest.mark.parametrize("harm", [cut, empty, remove, place_folder, dangle])
def test_sizes_are_looked_at_before_a_folder_is_given_out(
    harm: Any, made: tuple[Artifact, Artifact]
) -> None:
    toy, _ = made
    damage.require_sizes(toy)
    assert damage.in_short(toy) == ""
    harm(toy.path("part-00001.txt"))
    with pytest.raises(Damaged, match=r"part-00001\.txt (has|is missing|is not a file)") as caught:
        damage.require_sizes(toy)
    said = str(caught.value)
    assert said.startswith(f"{toy.identity} is damaged: ")
    assert f"puna artifacts verify --store {toy.store_url};" in said  # from any folder
    assert damage.in_short(toy).startswith("damaged: part-00001.txt ")


def test_a_commit_removes_what_ended_processes_left_half_written_beside_it(tmp_path: Path) -> None:
    made = run_stage(TOY, ToyParameters(), tmp_path=tmp_path)
    home = Path(made.home.url)
    left, own = home / ".lease.json.1-ab.partial", home / f".lease.json.{os.getpid()}-ab.partial"
    for file in (left, own):
        file.touch()
    Attempt(made.home, "attempt-x", True).finish()
    assert not left.exists() and own.exists()


def test_a_commit_beside_a_living_writer_costs_it_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run_stage(TOY, ToyParameters(), tmp_path=tmp_path)
    flush, tidied = files.flush_to_disk, []

    def flush_while_another_commits(path: Path) -> None:
        flush(path)
        if path.name not in tidied:
            tidied.append(path.name)
            if len(tidied) % 2:  # each write is disturbed once
                with monkeypatch.context() as other:
                    other.setattr(os, "getpid", lambda: 1)
                    made.home.tidy_own()

    for module in (files, backends):
        monkeypatch.setattr(module, "flush_to_disk", flush_while_another_commits)
    made.home.create("new.json", b"1")
    made.home.replace("new.json", b"2")
    assert len(tidied) == 4
    assert made.home.read("new.json") == b"2"


def test_a_file_that_was_put_back_with_its_old_time_is_read_again(tmp_path: Path) -> None:
    given = tmp_path / "given.txt"
    given.write_text("whole")
    status = given.stat()
    given.write_text("whOle")
    os.utime(given, ns=(status.st_atime_ns, status.st_mtime_ns))
    cache = tmp_path / "digests.json"
    digests = Digests(cache)
    damaged = digests.pin(given, "given.txt")
    digests.save()
    given.write_text("whole")
    os.utime(given, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert Digests(cache).pin(given, "given.txt").sha256 != damaged.sha256
