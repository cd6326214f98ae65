"""Data set, configuration, split -> files at a commit; and what is said where there are none."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from infra.remote.errors import Denied, NoSuchObject, Unreachable
from infra.stage import StageError
from tasks.ingest.hub.configuration import Wanted
from tasks.ingest.hub.layout import Layout, layout_of
from tests.loopback.hub_fixture import HubServer, point_at

CARD = """---
license: odc-by
configs:
- config_name: default
  default: true
  data_files:
  - split: train
    path: data/*/*
- config_name: sample-10BT
  data_files:
  - split: train
    path: sample/10BT/*
  - split: test
    path: sample/test/*
---
# FineWeb
"""


def repository(hub: HubServer, id: str, files: dict[str, str]) -> Path:
    folder = hub.dataset(id)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def fineweb(hub: HubServer, id: str = "HuggingFaceFW/fineweb") -> Path:
    names = [f"data/CC-MAIN-2024-{week}/000.parquet" for week in range(10, 15)]
    names += [f"sample/10BT/{at}.parquet" for at in range(5)] + ["sample/test/0.parquet"]
    return repository(hub, id, {name: name for name in names} | {"README.md": CARD})


def found(dataset: str, **given: Any) -> Layout:
    return layout_of(Wanted(dataset, **given))


def test_a_configuration_is_pinned_to_a_commit(hub: HubServer) -> None:
    fineweb(hub)
    layout = found("HuggingFaceFW/fineweb", name="sample-10BT")
    assert (layout.module, layout.split, layout.name) == ("parquet", "train", "sample-10BT")
    assert [pin.name for pin in layout.files] == [f"sample/10BT/{at}.parquet" for at in range(5)]
    first = layout.files[0]
    content = b"sample/10BT/0.parquet"
    assert first.path == (
        f"hf://datasets/HuggingFaceFW/fineweb@{layout.commit}/sample/10BT/0.parquet"
    )
    assert first.sha256 == hashlib.sha256(content).hexdigest() and first.bytes == len(content)
    assert not any(
        request["path"].endswith("/data") for request in hub.log()
    )  # only what is wanted


def test_a_warm_plan_asks_for_the_commit_only(hub: HubServer) -> None:
    fineweb(hub)
    first = found("HuggingFaceFW/fineweb")
    hub.log()
    assert found("HuggingFaceFW/fineweb") == first
    assert len(hub.log()) == 1
    assert found("HuggingFaceFW/fineweb", revision=first.commit) == first
    assert hub.log() == []


def test_a_new_commit_is_another_layout(hub: HubServer) -> None:
    folder = fineweb(hub, "a/moving")
    before = found("a/moving", name="sample-10BT")
    (folder / "sample/10BT/1.parquet").write_text("something else")
    after = found("a/moving", name="sample-10BT")
    assert before.commit != after.commit
    changed = [
        old.name
        for old, new in zip(before.files, after.files, strict=True)
        if old.identity != new.identity
    ]
    assert changed == ["sample/10BT/1.parquet"]
    pinned = found("a/moving", name="sample-10BT", revision=before.commit)
    assert pinned.files == before.files


def test_small_files_are_known_by_their_blob(hub: HubServer) -> None:
    repository(hub, "a/lines", {"train.jsonl": "{}", "valid.jsonl": "{}"})
    layout = found("a/lines", split="validation")
    (pin,) = layout.files
    assert layout.module == "json" and pin.sha256 == "" and pin.name == "valid.jsonl"
    assert pin.etag == hashlib.sha1(b"blob 2\0{}").hexdigest()


def test_files_and_options_of_the_card(hub: HubServer) -> None:
    card = (
        "---\nconfigs:\n- config_name: x\n  data_files: '*.csv'\n  data_dir: sub\n  sep: ';'\n---\n"
    )
    repository(hub, "a/csv", {"README.md": card, "sub/a.csv": "t;u", "b.csv": "", "sub/c.txt": ""})
    layout = found("a/csv")
    assert layout.module == "csv" and layout.options == {"sep": ";"}
    assert [pin.name for pin in layout.files] == ["sub/a.csv"]


@pytest.mark.parametrize(
    "head",
    [
        "configs: 3",
        "configs: [3]",
        "configs:\n- config_name: [x]",
        "configs:\n- config_name: x\n  data_files:\n  - {split: 3, path: [1]}",
        "- a",
        "[",
        "[" * 3000,
        "date: 2024-99-99",
        "x: !!bool maybe",
        f"x: {'9' * 5000}",
    ],
    ids=lambda head: head[:20],
)
def test_a_card_that_cannot_be_read_is_named(hub: HubServer, head: str) -> None:
    repository(hub, "a/odd", {"README.md": f"---\n{head}\n---\n", "a.jsonl": "{}"})
    with pytest.raises(StageError, match=r"a/odd at .* cannot be read \(.*with data_files$") as why:
        found("a/odd")
    assert "\n" not in str(why.value)
    assert [pin.name for pin in found("a/odd", data_files=("*.jsonl",)).files] == ["a.jsonl"]


@pytest.mark.parametrize(
    "stated",
    [
        "data_files: http://127.0.0.1:9/latest/meta-data.csv",
        "data_files: /etc/*.csv",
        "data_files: ../other/*.csv",
        "data_files: zip://a.csv::http://127.0.0.1:9/a.zip",
        "data_files:\n  - {split: train, path: [a.csv, 'file:///etc/b.csv']}",
        "data_dir: ../../other",
    ],
)
def test_a_card_names_files_of_its_own_repository_only(hub: HubServer, stated: str) -> None:
    card = f"---\nconfigs:\n- config_name: x\n  {stated}\n---\n"
    repository(hub, "a/far", {"README.md": card, "a.csv": "t"})
    with pytest.raises(StageError, match=r"the card of the .*a/far.* which is no file of it"):
        found("a/far")


def test_data_files_choose_by_pattern(hub: HubServer) -> None:
    fineweb(hub)
    layout = found("HuggingFaceFW/fineweb", data_files=("sample/10BT/[01]*", "sample/test/*"))
    assert [pin.name for pin in layout.files] == [
        "sample/10BT/0.parquet",
        "sample/10BT/1.parquet",
        "sample/test/0.parquet",
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"dataset": "HuggingFaceFW/finewb"},
            r"no data set .* \(did you mean 'HuggingFaceFW/fineweb",
        ),
        ({"dataset": "Hugging/fineweb"}, r"did you mean 'HuggingFaceFW/fineweb'\?.*HF_TOKEN"),
        ({"name": "sample-10B"}, r"no configuration 'sample-10B' \(did you mean 'sample-10BT'\?\)"),
        (
            {"name": "sample-10BT", "split": "tset"},
            r"'tset' \(did you mean 'test'\?\); it has train, test",
        ),
        ({"revision": "mian"}, r"no revision 'mian' \(did you mean 'main'\?\)"),
        ({"data_files": ("sampel/*",)}, r"matches sampel/\* \(did you mean 'sample'\?\)"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(
    hub: HubServer, given: dict[str, Any], message: str
) -> None:
    fineweb(hub)
    with pytest.raises(NoSuchObject, match=message):
        layout_of(Wanted(**{"dataset": "HuggingFaceFW/fineweb", **given}))


def test_a_name_must_be_stated_where_none_is_meant(hub: HubServer) -> None:
    card = CARD.replace("default: true\n  ", "").replace("name: default", "name: all")
    repository(hub, "a/several", {"README.md": card, "sample/10BT/0.parquet": ""})
    with pytest.raises(NoSuchObject, match="2 configurations; name one of all, sample-10BT"):
        found("a/several")
    repository(hub, "a/none", {"notes.xyz": ""})
    with pytest.raises(NoSuchObject, match="has no data files"):
        found("a/none")
    with pytest.raises(NoSuchObject, match="has no configurations"):
        found("a/none", name="en")
    with pytest.raises(StageError, match="ORG/NAME"):
        found("fineweb")


def test_a_script_is_never_run(hub: HubServer) -> None:
    repository(hub, "a/code", {"code.py": "raise SystemExit('run!')", "data.jsonl": "{}"})
    with pytest.raises(StageError, match=r"script of its own \(code.py\), which is never run"):
        found("a/code")


def test_gates_and_logins_name_the_variable(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fineweb(hub, "a/gated")
    (folder / ".hub.json").write_text('{"gated": true}')
    with pytest.raises(Denied, match=r"is gated: accept its conditions at http.*/datasets/a/gated"):
        found("a/gated")
    monkeypatch.setenv("HF_TOKEN", "hf_stranger")
    with pytest.raises(Denied, match="has not been let in; ask for access"):
        found("a/gated")
    monkeypatch.setenv("HF_TOKEN", "hf_mistyped")
    with pytest.raises(Denied, match="Invalid credentials"):
        found("a/gated")
    monkeypatch.setenv("HF_TOKEN", "hf_loopback")
    assert found("a/gated").files
    (folder / ".hub.json").write_text('{"private": true}')
    assert found("a/gated").files
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(NoSuchObject, match="or it is private"):
        found("a/gated")


def test_without_a_network_what_is_known_stands(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fineweb(hub)
    known = found("HuggingFaceFW/fineweb", name="sample-10BT")
    point_at("http://127.0.0.1:9", tmp_path / "home", monkeypatch)
    assert found("HuggingFaceFW/fineweb", name="sample-10BT") == known
    with pytest.raises(Unreachable, match=r"hub \(http://127.0.0.1:9\) cannot be reached"):
        found("HuggingFaceFW/fineweb", name="default")
    with pytest.raises(Unreachable, match="cannot be reached"):
        found("HuggingFaceFW/other")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert found("HuggingFaceFW/fineweb", name="sample-10BT") == known
    with pytest.raises(Unreachable, match="HF_HUB_OFFLINE is set"):
        found("HuggingFaceFW/other")


def test_without_a_network_what_was_downloaded_is_used(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`hf download` leaves files and the listing of the commit; both together are certain."""
    import huggingface_hub

    fineweb(hub)
    online = found("HuggingFaceFW/fineweb", name="sample-10BT")
    point_at(hub, tmp_path / "other", monkeypatch)
    huggingface_hub.snapshot_download(
        "HuggingFaceFW/fineweb", repo_type="dataset", allow_patterns=["README.md", "sample/*/*"]
    )
    point_at("http://127.0.0.1:9", tmp_path / "other", monkeypatch)
    assert found("HuggingFaceFW/fineweb", name="sample-10BT") == online
    with pytest.raises(Unreachable, match=r"of the 5 files wanted .* 5 are not in its local cache"):
        found("HuggingFaceFW/fineweb", name="default")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert found("HuggingFaceFW/fineweb", name="sample-10BT") == online
