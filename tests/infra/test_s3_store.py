"""A store on S3: the same artifacts as on a disk, in few requests; servers and places that will not
do are refused.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.build import Order, build
from infra.engine.base import Inline
from infra.io.files import sha256_file
from infra.remote import holding
from infra.remote.access import Access
from infra.remote.errors import Denied, Unreachable
from infra.stage import StageError
from infra.store import Artifact, Damaged, Store, copying, operations
from infra.store.directory import NoBucket, NotExclusive, StoreUnusable
from infra.store.identity import version_of
from infra.store.lease import lease
from infra.store.marker import NAME as MARKER
from tests.loopback.s3 import LoopbackS3, bucket_server, s3_server
from tests.loopback.s3_proxy import Answer, Proxy, before
from tests.stage_harness import data_digests, run_stage
from tests.toy import READER, TOY, ToyParameters


@pytest.fixture(scope="module")
def s3() -> Iterator[LoopbackS3]:
    with s3_server() as found:
        found.make_bucket("puna")
        yield found


@pytest.fixture
def access(s3: LoopbackS3, tmp_path: Path) -> Access:
    return Access(
        cache=tmp_path / "cache", retry_interval_s=0.001, retry_limit_s=60, endpoint=s3.endpoint
    )


@pytest.fixture
def store(access: Access, tmp_path: Path) -> Store:
    found = Store.at(f"s3://puna/{tmp_path.name}", access)
    found.make()
    return found


def make(store: Store, parameters: ToyParameters, up: Artifact | None = None) -> Artifact:
    """Build the toy stage, or of an artifact the one that reads it."""
    stage, inputs = (TOY, {}) if up is None else (READER, {"up": (up,)})
    identities = {role: [one.identity for one in given] for role, given in inputs.items()}
    version = version_of(stage, "main", parameters, identities, {})
    return build(Order(stage, "main", version, parameters, inputs, {}), store, Inline())


def test_the_same_artifacts_as_on_a_disk(store: Store, tmp_path: Path) -> None:
    first = make(store, ToyParameters())
    second = make(store, ToyParameters(), first)
    local = run_stage(TOY, ToyParameters(), tmp_path=tmp_path)
    beside = run_stage(READER, ToyParameters(), {"up": local}, tmp_path=tmp_path)
    assert (first.digest, second.digest) == (local.digest, beside.digest)
    assert second.path("all.txt").read_bytes() == beside.path("all.txt").read_bytes()
    assert data_digests(first) == data_digests(local)
    assert [a.identity for a in store.artifacts()] == [second.identity, first.identity]
    assert operations.verify(first) == [] and first.folder() == first.folder()
    assert sorted(path.name for path in first.folder().iterdir()) == first.files()
    assert store.open(first.identity) == first and first.store_url == store.root.url


def test_a_failed_stage_goes_on_where_it_was(store: Store, s3: LoopbackS3) -> None:
    with pytest.raises(ValueError, match="shard 2 is bad"):
        make(store, ToyParameters(fail=(2,)))
    assert list(store.artifacts()) == []
    written = {name for name in store.root.files() if "/data/" in name}
    before_it = s3.requests.copy()
    made = make(store, ToyParameters())
    puts = s3.requests["PUT"] - before_it["PUT"]
    assert len(written) == 2 and made.files() == [f"part-0000{n}.txt" for n in range(3)]
    assert puts == 4  # the lease, the third shard's file and completion record, and the manifest


def test_requests_for_a_shard(store: Store, s3: LoopbackS3) -> None:
    counts = {}
    for shards in (2, 12):
        s3.requests.clear()
        made = make(store, ToyParameters(shards=shards))
        make(store, ToyParameters(), made)
        counts[shards] = s3.requests.copy()
    more = {kind: counts[12][kind] - counts[2][kind] for kind in ("PUT", "GET", "LIST", "HEAD")}
    # a file and its completion record; what was written here is not fetched to be read
    assert more["PUT"] == 2 * 10 and more["GET"] <= 2 and more["LIST"] == more["HEAD"] == 0


def test_local_copies_are_bounded_and_those_in_use_stay(store: Store, access: Access) -> None:
    made = make(store, ToyParameters(shards=12, word="x" * 10_000))
    small = Store.at(store.root.url, dataclasses.replace(access, cache_bytes=35_000))
    (artifact,) = small.artifacts()
    content = access.cache / "content"
    for path in content.rglob("*"):
        if path.is_file():
            path.unlink()
    with holding.while_open():
        first = Path(os.fspath(artifact.path(artifact.files()[0])))
        for name in artifact.files()[1:]:
            with holding.while_open():
                assert artifact.path(name).stat().st_size > 10_000
                kept = [path for path in content.rglob("*") if path.is_file()]
                assert sum(path.stat().st_size for path in kept) <= 35_000
        assert first.read_bytes() == made.path(artifact.files()[0]).read_bytes()
        again = artifact.path(artifact.files()[0])
        assert again == first
    assert not first.exists()


def test_copies_of_a_killed_process_can_be_evicted(access: Access, store: Store) -> None:
    make(store, ToyParameters(shards=1))
    process = multiprocessing.get_context("forkserver").Process(target=_hold, args=(store,))
    process.start()
    held = access.cache / "held"

    def names() -> list[Path]:
        return list(held.glob("*/*/part-00000.txt"))

    while not names():
        assert process.is_alive()
        time.sleep(0.02)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert names()
    process = multiprocessing.get_context("forkserver").Process(target=_look, args=(access,))
    process.start()
    process.join()
    assert not names()


def _hold(store: Store) -> None:
    (artifact,) = store.artifacts()
    artifact.path("part-00000.txt").read_bytes()
    time.sleep(60)


def _look(access: Access) -> None:
    holding.folder_of_process(access)


def test_what_the_server_lost_or_changed_is_named(
    store: Store, s3: LoopbackS3, access: Access, tmp_path: Path
) -> None:
    made = make(store, ToyParameters())
    (elsewhere,) = Store.at(
        store.root.url, dataclasses.replace(access, cache=tmp_path / "other")
    ).artifacts()
    key = elsewhere.data.url.removeprefix("s3://puna/")
    s3.put("puna", f"{key}/part-00001.txt", b"toy 2\n")
    s3.client.delete_object(Bucket="puna", Key=f"{key}/part-00002.txt")
    with pytest.raises(Damaged, match="its sha256 was"):
        elsewhere.path("part-00001.txt").read_bytes()
    with pytest.raises(Damaged, match="has lost its data file part-00002"):
        os.fspath(elsewhere.path("part-00002.txt"))
    with pytest.raises(Damaged, match="build it again: puna run RECIPE --force toy/main"):
        elsewhere.folder()
    problems = operations.verify(made)  # of the store, not of copies
    assert len(problems) == 2 and "part-00001.txt has sha256" in problems[0]
    assert "part-00002.txt is missing" in problems[1] and not made.is_whole()


def test_garbage_is_found_and_goes_manifest_first(store: Store, s3: LoopbackS3) -> None:
    kept, gone = make(store, ToyParameters()), make(store, ToyParameters(word="gone"))
    store.set_reference("r", kept, "latest")
    (item,) = operations.garbage(store, keep_runs=1)
    assert item.what == gone.identity and item.bytes > sum(
        out.bytes for out in gone.manifest.outputs
    )
    item.home.remove()
    assert [a.identity for a in store.artifacts()] == [kept.identity]
    assert gone.home.files() == []


def test_a_lease_is_waited_for_and_one_of_the_dead_is_taken(store: Store) -> None:
    home, inside, order = store.home("toy", "main", "v"), threading.Event(), []

    def hold() -> None:
        with lease(home, lambda holder: None):
            inside.set()
            time.sleep(0.5)
            order.append("first")

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(20)
    waited: list[object] = []
    with lease(home, waited.append):
        order.append("second")
        assert home.read_json("lease.json")["pid"] == os.getpid()
    thread.join()
    assert order == ["first", "second"] and len(waited) == 1 and not home.exists("lease.json")
    home.replace("lease.json", b'{"host": "gone", "pid": 1, "heartbeat": 1.0}')
    with lease(home, waited.append):
        pass
    assert len(waited) == 1


def test_places_that_are_no_store(store: Store, s3: LoopbackS3, access: Access) -> None:
    with pytest.raises(NoBucket, match="there is no bucket 'nobody-has-it' at http://127"):
        Store.at("s3://nobody-has-it/store", access)
    with pytest.raises(StoreUnusable, match=r"is inside the store s3://puna/.* name a prefix"):
        Store.at(f"{store.root.url}/toy/deep", access).make()
    s3.put("puna", f"around/it/{MARKER}", b"{}")
    with pytest.raises(StoreUnusable, match="contains the store s3://puna/around/it"):
        Store.at("s3://puna/around", access).make()
    Store.at("s3://puna/around/other", access).make()
    s3.put("puna", f"login/{MARKER}", b"<html>Please log in</html>")
    with pytest.raises(StoreUnusable, match=r"no marker of a store .*<html>.* AWS_ENDPOINT_URL"):
        Store.at("s3://puna/login", access)
    for url in ("s3://", "s3://puna/a//b", "s3://puna/../a", "s3://puna/a*", "s3://puna/a\nb"):
        with pytest.raises(StoreUnusable, match="is not a valid store"):
            Store.at(url, access)
    with pytest.raises(StoreUnusable, match="come from the environment") as refused:
        Store.at("s3://key:opensesame@puna/store", access)
    assert "opensesame" not in str(refused.value)


def test_without_s3fs_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(StageError, match=r"pip install 'puna\[s3\]'"):
        Store.at("s3://puna/store")


@pytest.fixture
def proxy(s3: LoopbackS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with before(s3.endpoint) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.address)
        yield found


def test_whoever_opens_a_store_is_not_kept_waiting(
    proxy: Proxy, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.store.s3_directory._IMPATIENT_S", 0.2)
    proxy.choose = lambda method, path: Answer("reset")
    with pytest.raises(Unreachable, match="gave up after"):
        Store.at("s3://puna/away", dataclasses.replace(access, retry_limit_s=600))


def test_a_server_that_overwrites_is_refused(proxy: Proxy, access: Access, tmp_path: Path) -> None:
    new = Store.at(f"s3://puna/new-{tmp_path.name}", access)
    proxy.drops = frozenset({"if-none-match"})
    with pytest.raises(NotExclusive, match="overwrites an object though it is asked not to"):
        new.make()
    proxy.dropping = lambda method, path: method == "POST"
    with pytest.raises(NotExclusive, match="but not on those in parts"):
        new.make()
    proxy.drops = frozenset()
    proxy.choose = lambda method, path: (
        Answer(status=501, code="NotImplemented") if method == "PUT" else None
    )
    with pytest.raises(NotExclusive, match="does not take conditional writes"):
        new.make()
    proxy.choose = lambda method, path: None
    new.make()


def test_credentials_that_expire_end_a_stage_in_a_sentence(
    proxy: Proxy, access: Access, tmp_path: Path
) -> None:
    store = Store.at(f"s3://puna/expires-{tmp_path.name}", access)
    store.make()
    expired = threading.Event()

    def choose(method: str, path: str) -> Answer | None:
        if "part-00001" in path:
            expired.set()
        return Answer(status=400, code="ExpiredToken") if expired.is_set() else None

    proxy.choose = choose
    with pytest.raises(Denied, match="has expired; log in again") as raised:
        make(store, ToyParameters())
    assert "\n" not in str(raised.value)
    proxy.choose = lambda method, path: None
    assert len(make(store, ToyParameters()).files()) == 3


def build_there(url: str, access: Access) -> str:
    os.environ["AWS_ENDPOINT_URL"] = access.endpoint  # not that of the server it was forked from
    return make(Store.at(url, access), ToyParameters(shards=6, word="both")).digest


def test_two_processes_build_one_artifact(store: Store, access: Access) -> None:
    with multiprocessing.get_context("forkserver").Pool(2) as pool:
        found = pool.starmap(build_there, [(store.root.url, access)] * 2)
    assert found[0] == found[1] and len(list(store.artifacts())) == 1


def test_a_copy_goes_to_any_store_and_back(
    store: Store, s3: LoopbackS3, tmp_path: Path, access: Access
) -> None:
    local = run_stage(TOY, ToyParameters(), tmp_path=tmp_path)
    reader = run_stage(READER, ToyParameters(), {"up": local}, tmp_path=tmp_path)
    source = Store.at(str(tmp_path / "store"))
    for one in copying.with_inputs(source, reader):
        assert copying.copy(one, store)
        assert not copying.copy(one, store)
    there = store.open(reader.identity)
    assert there.manifest == reader.manifest and operations.verify(there) == []
    assert store.open(local.identity).digest == local.digest
    with bucket_server(tmp_path / "second") as second:
        second.make_bucket("else")
        elsewhere = Store.at("s3://else", dataclasses.replace(access, endpoint=second.endpoint))
        elsewhere.make()
        assert copying.copy(there, elsewhere)
        back = Store.at(str(tmp_path / "back"))
        assert copying.copy(elsewhere.open(reader.identity), back)
    whole = back.open(reader.identity)
    assert whole.path("all.txt").read_bytes() == reader.path("all.txt").read_bytes()
    assert operations.verify(whole) == []


def test_a_copy_that_was_broken_off_goes_on(store: Store, s3: LoopbackS3, tmp_path: Path) -> None:
    local = run_stage(TOY, ToyParameters(), tmp_path=tmp_path)

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copying.copy(local, store, stop)
    assert list(store.artifacts()) == []
    s3.requests.clear()
    assert copying.copy(local, store)
    assert s3.requests["PUT"] == 2 and operations.verify(store.open(local.identity)) == []


def test_a_copy_of_damage_is_refused(store: Store, s3: LoopbackS3, tmp_path: Path) -> None:
    local = run_stage(TOY, ToyParameters(), tmp_path=tmp_path)
    path = local.path("part-00001.txt")
    intact = path.read_bytes()
    path.write_bytes(b"x" + intact[1:])
    with pytest.raises(Damaged, match=r"part-00001\.txt has sha256 .* its manifest says"):
        copying.copy(local, store)
    path.write_bytes(intact)
    home = store.home("toy", "main", local.version).child(local.manifest.attempt)
    home.child("data").replace("part-00002.txt", b"y" * len(intact))
    with pytest.raises(Damaged, match="has other bytes than the file to be copied"):
        copying.copy(local, store)
    assert list(store.artifacts()) == [] and sha256_file(path)
