"""A run with its store on S3, behind a proxy that answers wrongly now and then, ends with the
digests of a run on a local disk, also when it was killed; and commands read it.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.engine import EngineConfig
from infra.store import Store
from tests.end_to_end.direct import digests, run_direct
from tests.end_to_end.fixtures import Puna, SmallRun
from tests.loopback.s3 import CREDENTIALS, LoopbackS3, s3_server
from tests.loopback.s3_proxy import Answer, Proxy, before

pytestmark = pytest.mark.timeout(900)  # the whole run behind it takes minutes on a busy machine

URL = "s3://puna/runs/small"
KILLS = 3
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


def with_faults(proxy: Proxy, seed: int) -> None:
    rng = random.Random(seed)
    proxy.choose = lambda method, path: rng.choice(FAULTS) if rng.random() < 0.05 else None


def as_on_a_disk(store: Store, small_run: SmallRun) -> dict[str, str]:
    """Digests of what a store has, compared with those of the whole run."""
    found = digests({f"{a.stage}/{a.name}": a for a in store.artifacts()})
    reference = digests(small_run.artifacts())
    assert found == {id: reference[id] for id in found}
    return found


def test_it_ends_as_on_a_disk(
    proxy: Proxy, small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
    recipe = small_run.recipe.with_name("on-s3.yaml")
    settings = {"retry_interval_s": 0.01, "cache": str(tmp_path / "cache")}
    recipe.write_text(f"name: small\nextends: {small_run.recipe.name}\nremote: {settings}\n")
    Store.at(URL).make()
    with_faults(proxy, seed=1)
    built = run_direct(recipe, URL, EngineConfig(kind="inline"), until="cut")
    proxy.choose = lambda method, path: None
    assert {"ingest/crawl", "perplexity/crawl", "cut/main"} <= built.keys()
    assert as_on_a_disk(Store.at(URL), small_run).keys() == built.keys()


def test_commands_read_it(there: Puna, small_run: SmallRun) -> None:
    copied = there.home / "copied"
    done = there("artifacts", "copy", "cut/main", "--from", URL, "--to", copied)
    assert "copied" in done.stdout, done.stderr
    (artifact,) = Store.at(str(copied)).artifacts()
    assert artifact.digest == small_run.artifacts()["cut/main"].digest
    missing = there("artifacts", "list", "--store", "s3://puna/nothing")
    assert missing.returncode == 2 and "there is no store at s3://puna/nothing" in missing.stderr


@pytest.mark.duty
@pytest.mark.timeout(3600)
def test_killed_it_goes_on(there: Puna, proxy: Proxy, s3: LoopbackS3, small_run: SmallRun) -> None:
    url = f"{URL}-killed"
    quick = ("-s", "remote.retry_interval_s=0.01")
    command = ("run", small_run.recipe, "--store", url, "--json", *quick)
    for number in range(KILLS):
        writes = s3.requests["PUT"] + random.randrange(20, 60)
        running = there.start(*command)
        while s3.requests["PUT"] < writes and running.process.poll() is None:
            time.sleep(0.01)
        assert running.process.poll() is None, (number, running.process.communicate())
        running.kill_group()
        assert running.left_behind(60) == []
        with_faults(proxy, seed=number)
    done = there(*command, timeout_s=1200)
    proxy.choose = lambda method, path: None
    assert done.returncode == 0, done.stderr
    found = as_on_a_disk(Store.at(url), small_run)
    assert found.keys() == small_run.artifacts().keys()
    statuses = [record["status"] for record in Store.at(url).runs()]
    assert statuses[-1] == "completed" and {*statuses[:-1]} == {"crashed"}
