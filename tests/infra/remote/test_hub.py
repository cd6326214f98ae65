"""hf:// references: pinned by their commit's listing, fetched whole or in part."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.remote import cache, hub, hub_names, objects
from infra.remote.access import Access
from infra.remote.errors import Denied, NoSuchObject, Unreachable
from infra.remote.ranges import read_range
from infra.stage import StageError
from tests.loopback.hub_fixture import HubServer, point_at, running_hub

WEIGHTS = bytes(range(256)) * 64
BASE = {
    "config.json": b"{}",
    "generation_config.json": b"{}",
    "model-00001-of-00002.safetensors": WEIGHTS,
    "model-00002-of-00002.safetensors": b"more",
    "model.safetensors.index.json": b"{}",
    "tokenizer.json": b"{}",
    "tokenizer.model": b"pieces",
    "tokenizer_config.json": b"{}",
}
BESIDE = {
    "README.md": b"# card",
    ".gitattributes": b"",
    "LICENSE.txt": b"",
    "pytorch_model.bin": b"pickle",
    "pytorch_model.bin.index.json": b"{}",
    "consolidated.safetensors": WEIGHTS,
    "original/consolidated.00.pth": b"pickle",
    "onnx/model.onnx": b"",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    with running_hub(tmp_path_factory.mktemp("hub"), "--page", "4") as found:
        folder = found.model("meta/llama")
        for name, data in (BASE | BESIDE).items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
        for name in ("data/a.jsonl.gz", "data/b.jsonl.gz", "data/sub/c.jsonl.gz", "d.txt"):
            path = found.dataset("org/data") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode())
        yield found


@pytest.fixture
def hub_server(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    point_at(server, tmp_path / "home", monkeypatch)
    server.log()
    return server


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access(cache=tmp_path / "objects", retry_interval_s=0.01, retry_limit_s=3)


@pytest.mark.parametrize(
    ("reference", "wanted"),
    [
        ("hf://org/name", ("model", "org/name", "main", "")),
        ("hf://org/name@v1.0/a/b.json", ("model", "org/name", "v1.0", "a/b.json")),
        (
            "hf://datasets/o/n@refs/convert/parquet/x",
            ("dataset", "o/n", "refs/convert/parquet", "x"),
        ),
        ("hf://datasets/o/n@refs%2Fpr%2F1/x/*.gz", ("dataset", "o/n", "refs/pr/1", "x/*.gz")),
    ],
)
def test_references(reference: str, wanted: tuple[str, str, str, str]) -> None:
    repository, path = hub_names.parse(reference)
    assert (repository.kind, repository.id, repository.revision, path) == wanted


def test_what_is_no_reference_is_refused() -> None:
    for reference in ("hf://name", "hf://datasets/name", "hf://"):
        with pytest.raises(StageError):
            hub_names.parse(reference)


def test_a_model_is_its_checkpoint(hub_server: HubServer, access: Access) -> None:
    pins = objects.expand("hf://meta/llama", access)
    assert {pin.name for pin in pins} == set(BASE)
    by_name = {pin.name: pin for pin in pins}
    weights = by_name["model-00001-of-00002.safetensors"]
    assert weights.sha256 == hashlib.sha256(WEIGHTS).hexdigest() and weights.bytes == len(WEIGHTS)
    assert by_name["config.json"].etag and not by_name["config.json"].sha256
    assert [pin.name for pin in pins if hub.is_weights(pin)] == [
        name for name in sorted(BASE) if "safetensors" in name
    ]
    with cache.local_copy(weights, access) as path:
        assert path.read_bytes() == WEIGHTS
    assert read_range(weights, 10, 20, access) == WEIGHTS[10:20]


def test_patterns_and_folders_of_a_data_set(hub_server: HubServer, access: Access) -> None:
    def names(pattern: str) -> list[str]:
        return [pin.name for pin in objects.expand(f"hf://datasets/org/data/{pattern}", access)]

    assert names("data/*.gz") == ["a.jsonl.gz", "b.jsonl.gz"]
    assert names("data/**/*.gz") == ["a.jsonl.gz", "b.jsonl.gz", "sub/c.jsonl.gz"]
    assert names("data") == ["a.jsonl.gz", "b.jsonl.gz", "sub/c.jsonl.gz"]
    assert names("d.txt") == ["d.txt"] and names("data/[!a].jsonl.gz") == ["b.jsonl.gz"]
    with pytest.raises(NoSuchObject, match=r"did you mean 'data/a.jsonl.gz'"):
        names("data/a.jsnl.gz")


def test_a_folder_without_a_checkpoint_is_refused(hub_server: HubServer, access: Access) -> None:
    (hub_server.model("org/pickles") / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(NoSuchObject, match="neither safetensors nor a tokenizer"):
        objects.expand("hf://org/pickles", access)
    with pytest.raises(NoSuchObject, match=r"no model meta/lama.*did you mean 'meta/llama'"):
        objects.expand("hf://meta/lama", access)


def test_a_gate_is_told_when_it_is_met(
    hub_server: HubServer, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = hub_server.model("meta/llama") / ".hub.json"
    settings.write_text('{"gated": true}')
    try:
        pins = objects.expand("hf://meta/llama", access)  # the listing is public
        with pytest.raises(Denied, match="HF_TOKEN"), cache.local_copy(pins[0], access):
            pass
        monkeypatch.setenv("HF_TOKEN", "hf_loopback")
        hub_server.log()
        for pin in pins:
            with cache.local_copy(pin, access):
                pass
        tokens = {(request["host"], request["token"]) for request in hub_server.log()}
        assert tokens == {("127.0.0.1", "hf_loopback"), ("localhost", "")}
    finally:
        settings.unlink()


def test_downloads_are_resumed(hub_server: HubServer, access: Access) -> None:
    big = hub_server.model("org/big") / "model.safetensors"
    big.write_bytes(WEIGHTS * 200)
    (pin,) = objects.expand("hf://org/big", access)
    hub_server.faults(("/cdn/", "drop", 2))
    with cache.local_copy(pin, access) as path:
        assert path.read_bytes() == WEIGHTS * 200
    served = [entry for entry in hub_server.log() if entry["path"].startswith("/cdn")]
    assert len(served) == 3 and served[-1]["range"] and served[-1]["bytes"] < len(WEIGHTS) * 100


def test_without_a_network_what_is_cached_stands(
    hub_server: HubServer, access: Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = objects.expand("hf://datasets/org/data/data", access)
    for pin in pins:
        with cache.local_copy(pin, access):
            pass
    point_at("http://127.0.0.1:9", tmp_path / "home", monkeypatch)
    assert objects.expand("hf://datasets/org/data/data", access) == pins
    with pytest.raises(Unreachable):
        objects.expand("hf://datasets/org/data/d.txt", access)


def test_offline_mode_sends_no_request(
    hub_server: HubServer, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pin,) = objects.expand("hf://datasets/org/data/d.txt", access)
    hub_server.log()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(Unreachable, match="HF_HUB_OFFLINE is set"):
        read_range(pin, 0, 2, access)
    with pytest.raises(Unreachable, match="HF_HUB_OFFLINE"), cache.local_copy(pin, access):
        pass
    assert hub_server.log() == []
