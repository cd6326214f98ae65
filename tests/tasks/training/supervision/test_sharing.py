"""Copies of checkpoints in a store on S3: the newest intact one comes to whoever lacks it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from infra.remote.access import Access
from infra.remote.errors import Unreachable
from infra.store.backends import open_directory
from infra.store.exchange import Exchange
from tasks.training.checkpoints import checkpoint
from tasks.training.supervision.sharing import SharedCheckpoints
from tests.loopback.s3 import LoopbackS3, s3_server


@pytest.fixture(scope="module")
def s3() -> Iterator[LoopbackS3]:
    with s3_server() as found:
        found.make_bucket("puna")
        yield found


class Machine:
    """One with a cache and a scratch folder of its own."""

    def __init__(self, name: str, s3: LoopbackS3, tmp_path: Path) -> None:
        self.scratch = tmp_path / name / "training"
        access = Access(
            cache=tmp_path / name, retry_interval_s=0.001, retry_limit_s=1, endpoint=s3.endpoint
        )
        self.exchange = Exchange(open_directory(f"s3://puna/{tmp_path.name}", access))
        self.told: list[str] = []

    def share(self, keep: int = 2) -> SharedCheckpoints:
        return SharedCheckpoints(self.exchange, self.scratch, keep, self.told.append)

    def save(self, step: int) -> None:
        folder = self.scratch / "checkpoints"
        building = checkpoint.building_folder(folder, step, "run")
        checkpoint.write_rank(building, 0, {"model/w": torch.full((4,), float(step))}, {})
        checkpoint.complete(building, folder / checkpoint.name_of(step), 1, {"step": step})
        (self.scratch / "metrics.jsonl").write_text("".join(f"{n}\n" for n in range(step)))

    def steps(self) -> list[int]:
        found = checkpoint.checkpoints(self.scratch / "checkpoints")
        assert not any(map(checkpoint.problem, found))
        return [int(path.name[5:]) for path in found]


def test_another_machine_goes_on(s3: LoopbackS3, tmp_path: Path) -> None:
    first, second = (Machine(name, s3, tmp_path) for name in ("first", "second"))
    with first.share() as shared:
        for step in (10, 20, 30):
            first.save(step)
            shared.send()
    assert len(first.exchange.folders()) == 2 and first.told == []
    with second.share():
        assert second.steps() == [30]
        assert (second.scratch / "metrics.jsonl").read_text().count("\n") == 30
        with (second.scratch / "metrics.jsonl").open("a") as log:
            log.write("30\n")  # a file of its own, not the cache's
        second.save(40)
    with first.share():
        assert first.steps() == [10, 20, 30, 40]
    with first.share():
        pass  # nothing newer: nothing is fetched


def test_a_half_sent_or_damaged_copy_is_passed_over(s3: LoopbackS3, tmp_path: Path) -> None:
    first = Machine("first", s3, tmp_path)
    with first.share(keep=3) as shared:
        for step in (10, 20, 30):
            first.save(step)
            shared.send()
    root = first.exchange.directory.url.removeprefix("s3://puna/")
    half, damaged = (first.exchange.folders()[number] for number in (2, 1))
    s3.client.delete_object(Bucket="puna", Key=f"{root}/{half}/checksums.json")
    s3.put("puna", f"{root}/{damaged}/rank-00000.safetensors", b"other")
    second = Machine("second", s3, tmp_path)
    with second.share():
        assert second.steps() == [10]


def test_a_store_that_is_away_stops_no_training(
    s3: LoopbackS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise Unreachable("s3://puna does not answer")

    machine = Machine("first", s3, tmp_path)
    with machine.share() as shared:
        machine.save(10)
        shared.send()
        with monkeypatch.context() as patched:
            patched.setattr(Exchange, "send", away)
            machine.save(20)
            shared.send()
            shared.send()
    (told,) = machine.told
    assert told == "step-00000020 is on this machine alone: s3://puna does not answer"
    assert len(machine.exchange.folders()) == 2  # sent once it answered


def test_a_store_on_a_disk_needs_no_copies(tmp_path: Path) -> None:
    exchange = Exchange(open_directory(str(tmp_path / "scratch")))
    with SharedCheckpoints(exchange, tmp_path, 2, print) as shared:
        shared.send()
    assert not (tmp_path / "scratch").exists()
