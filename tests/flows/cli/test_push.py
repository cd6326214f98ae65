"""`puna push` against a hub on the loopback interface."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

from flows.cli import app
from infra.store import Store
from tests.loopback.hub import STRANGER, TOKEN
from tests.loopback.hub_fixture import HubServer, point_at, running_hub
from tests.loopback.s3 import bucket_server
from tests.stage_harness import run_stage
from tests.tasks.checkpoints.samples import select
from tests.tasks.export.checkpoints import sentencepiece
from tests.toy import TOY, ToyParameters


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with running_hub(tmp_path / "hub") as found:
        point_at(found, tmp_path / "home", monkeypatch)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield found


def push(*words: object) -> tuple[int, str, str]:
    found = CliRunner().invoke(app, ["push", *map(str, words)])
    return found.exit_code, found.stdout, found.stderr


def sums(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_model_arrives_whole_and_is_not_overwritten(hub: HubServer, tmp_path: Path) -> None:
    artifact = sentencepiece(tmp_path)
    options = ("--store", artifact.store_url)
    code, out, err = push(artifact.identity, "me/zh", *options, "--card", tmp_path / "card.md")
    assert code == 0 and "library_name: transformers" in (tmp_path / "card.md").read_text()
    assert not hub.log(), "a card to read first asks the hub nothing"
    code, out, err = push(artifact.identity, "me/zh", *options)
    assert code == 0, err
    assert out.strip() == f"{hub.url}/me/zh"
    there = sums(hub.model("me/zh"))
    assert (hub.model("me/zh") / "README.md").read_text().startswith("---\n")
    del there["README.md"]
    assert there == sums(artifact.folder("checkpoint"))
    code, _, err = push(artifact.identity, "me/zh", *options)
    assert code == 2 and "has a model me/zh already" in err and "--update" in err
    assert not [each for each in hub.log() if "/commit/" in each["path"]][1:]
    assert push(artifact.identity, "me/zh", *options, "--update")[0] == 0


def test_an_interrupted_push_leaves_nothing_and_can_be_repeated(
    hub: HubServer, tmp_path: Path
) -> None:
    artifact = sentencepiece(tmp_path)
    options = (artifact.identity, "me/zh", "--store", artifact.store_url)
    hub.faults(("/commit/", "500", 99))
    code, _, err = push(*options)
    assert code == 2 and "status 500" in err and "Nothing of this commit is visible" in err
    assert not sums(hub.model("me/zh"))
    hub.faults()
    hub.log()
    assert push(*options)[0] == 0
    assert not [each for each in hub.log() if each["method"] == "PUT"], "sent once only"


def test_selected_text_is_split_into_train_and_test(hub: HubServer, tmp_path: Path) -> None:
    files = {"web-zh/part-00000.jsonl": ["公园"], "heldout/web-zh/part-00000.jsonl": ["花"]}
    artifact = select(files, tmp_path)
    code, out, err = push(
        artifact.identity, "me/data", "--store", artifact.store_url, "--license", "cc0-1.0"
    )
    assert code == 0 and out.strip() == f"{hub.url}/datasets/me/data", err
    there = hub.dataset("me/data")
    assert set(sums(there)) == {
        "README.md",
        "train/web-zh/part-00000.jsonl",
        "test/web-zh/part-00000.jsonl",
    }
    assert "license: cc0-1.0" in (there / "README.md").read_text()


def test_what_cannot_be_pushed_is_refused_before_anything_is_sent(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = run_stage(TOY, ToyParameters(), tmp_path=tmp_path)
    store = ("--store", toy.store_url)
    code, _, err = push(toy.identity, "me/toy", *store)
    assert code == 2 and "nothing that a hub holds" in err
    for name in ("toy", "me/to y", "a/b/c"):
        code, _, err = push(toy.identity, name, *store)
        assert code == 2 and "is no name of a repository" in err
    model = sentencepiece(tmp_path)
    options = (model.identity, "me/zh", *store)
    monkeypatch.delenv("HF_TOKEN")
    code, _, err = push(*options)
    assert code == 2 and "set HF_TOKEN to a token with write access" in err
    monkeypatch.setenv("HF_TOKEN", STRANGER)
    code, _, err = push(*options)
    assert code == 2 and "HF_TOKEN may not write to me" in err
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    code, _, err = push(*options)
    assert code == 2 and "HF_HUB_OFFLINE is set" in err
    assert not list((hub.root).glob("models/*/*"))


def test_a_store_on_s3_is_verified_copied_and_pushed(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    artifact, url = sentencepiece(tmp_path), "s3://puna/store"
    with bucket_server(tmp_path / "objects") as s3:
        s3.make_bucket("puna")
        Store.at(url).make()
        words = ("--from", artifact.store_url, "--to", url)
        assert artifacts("copy", artifact.identity, *words)[0] == 0
        assert artifacts("verify", "--store", url)[0] == 0
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)  # another machine
        code, out, err = push(artifact.identity, "me/zh", "--store", url)
        assert code == 0 and out.strip() == f"{hub.url}/me/zh", err
        there = sums(hub.model("me/zh"))
        del there["README.md"]
        assert there == sums(artifact.folder("checkpoint"))
        (file,) = (tmp_path / "objects").rglob("*.safetensors")
        file.write_bytes(file.read_bytes()[:-1] + b"\0")
        code, out, err = artifacts("verify", "--store", url)
        assert code != 0 and file.name in out + err


def artifacts(*words: object) -> tuple[int, str, str]:
    found = CliRunner().invoke(app, ["artifacts", *map(str, words)])
    return found.exit_code, found.stdout, found.stderr
