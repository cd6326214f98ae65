"""A run with its store on S3, behind a proxy that answers wrongly now and then: killed in the
middle and started again, it ends with the digests of a run on a local disk, and commands read it.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Iterator

import pytest

from infra.store import Store
from tests.end_to_end.direct import digests
from tests.end_to_end.fixtures import Puna, SmallRun
from tests.loopback.s3 import CREDENTIALS, LoopbackS3, s3_server
from tests.loopback.s3_proxy import Answer, Proxy, before

pytestmark = pytest.mark.timeout(900)  # the whole run behind it takes minutes on a busy machine

URL = "s3://puna/runs/small"
END = "dedup"
FAULTS = [
    Answer(status=503, code="SlowDown"),
    Answer("reset"),
    Answer("reset", done=True),
    Answer("short"),
    Answer(status=500, done=True),
]


@pytest.fixture(scope="module")
def s3() -> Iterator[LoopbackS3]:
    with s3_server() as found:
        found.make_bucket("puna")
        yield found


@pytest.fixture(scope="module")
def proxy(s3: LoopbackS3) -> Iterator[Proxy]:
    with before(s3.endpoint) as found:
        yield found


@pytest.fixture(scope="module")
def there(puna: Puna, proxy: Proxy) -> Puna:
    """The command, with that S3 in its environment."""
    surroundings = {**CREDENTIALS, "AWS_ENDPOINT_URL": proxy.address}
    return dataclasses.replace(puna, environment={**puna.environment, **surroundings})


def test_killed_and_with_faults_it_ends_as_on_a_disk(
    there: Puna, proxy: Proxy, s3: LoopbackS3, small_run: SmallRun
) -> None:
    quick = ("-s", "remote.retry_interval_s=0.01")
    command = ("run", small_run.recipe, "--store", URL, "--until", END, "--json", *quick)
    killed_at = random.randrange(25, 60)
    running = there.start(*command)
    while s3.requests["PUT"] < killed_at and running.process.poll() is None:
        time.sleep(0.01)
    assert running.process.poll() is None, running.process.communicate()
    running.kill_group()
    assert running.left_behind(60) == []

    rng = random.Random(killed_at)
    proxy.choose = lambda method, path: rng.choice(FAULTS) if rng.random() < 0.05 else None
    done = there(*command, timeout_s=600)
    proxy.choose = lambda method, path: None
    assert done.returncode == 0, (killed_at, done.stderr)
    found = {f"{a.stage}/{a.name}": a for a in Store.at(URL).artifacts()}
    reference = digests(small_run.artifacts())
    assert digests(found) == {id: reference[id] for id in sorted(found)} and "dedup/main" in found


def test_commands_read_it(there: Puna, small_run: SmallRun) -> None:
    copied = there.home / "copied"
    words = ("--from", URL, "--to", copied)
    first, second = (there("artifacts", "copy", "dedup/main", *words) for _ in range(2))
    assert "copied" in first.stdout and "was there" in second.stdout, first.stderr
    (artifact,) = Store.at(str(copied)).artifacts()
    assert artifact.digest == small_run.artifacts()["dedup/main"].digest
    checked = there("artifacts", "verify", "dedup/main", "--store", URL)
    assert checked.stdout == "1 artifacts checked, 0 problems\n", checked.stderr
    inside = there("run", small_run.recipe, "--store", f"{URL}/below", "--until", END)
    assert inside.returncode == 2 and f"is inside the store {URL}" in inside.stderr
    missing = there("artifacts", "list", "--store", "s3://puna/nothing")
    assert missing.returncode == 2 and "there is no store at s3://puna/nothing" in missing.stderr
