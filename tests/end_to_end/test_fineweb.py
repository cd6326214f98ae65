"""FineWeb by name, from a hub on this machine, to selected documents; and the same by path."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.store import Store
from tests.end_to_end.fixtures import Puna
from tests.loopback.fineweb import FINEWEB, FINEWEB_2, write_hub
from tests.loopback.hub_fixture import running_hub

RECIPE = Path(__file__).resolve().parents[2] / "configs" / "fineweb-small.yaml"
SOURCES = ("fineweb", "fineweb-2")


def selected(store: Path, stages: list[dict[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    """Source -> (id, text) of every document that was kept or held out."""
    found: dict[str, list[tuple[str, str]]] = {}
    for stage in stages:
        if stage["stage"] != "select":
            continue
        artifact = Store.at(str(store)).find("select", stage["name"], stage["version"])
        assert artifact is not None
        rows = [
            json.loads(line)
            for name in artifact.files()
            if name.endswith(".jsonl")
            for line in artifact.path(name).read_text(encoding="utf-8").splitlines()
        ]
        found[stage["name"]] = sorted((row["id"], row["text"]) for row in rows)
    return found


@pytest.mark.timeout(280)
def test_by_name_and_by_path_select_the_same_documents(puna: Puna, tmp_path: Path) -> None:
    root = tmp_path / "hub"
    write_hub(root, rows=700)
    store = tmp_path / "store"
    common: list[object] = [
        "--until",
        "select",
        "--store",
        store,
        "--json",
        "-s",
        "engine={workers: 2}",
    ]
    common += [f"-ssources.{source}.quality=null" for source in SOURCES]
    limits = [f"-ssources.{source}.ingest.limit=600" for source in SOURCES]
    local = [
        f"-ssources.fineweb.ingest={{format: parquet, paths: ['{root}/datasets/{FINEWEB}/sample/10BT/*'], limit: 600}}",  # noqa: E501
        f"-ssources.fineweb-2.ingest={{format: parquet, paths: ['{root}/datasets/{FINEWEB_2}/data/deu_Latn/train/*'], limit: 600}}",  # noqa: E501
        *(
            f"-ssources.{source}.ingest.{key}=''"
            for source in SOURCES
            for key in ("dataset", "name")
        ),
        "-ssources.fineweb-2.ingest.split=null",
    ]
    with running_hub(root) as hub:
        environment = {
            **puna.environment,
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_OFFLINE": "0",
        }
        online = replace(puna, environment=environment)
        named = online("run", RECIPE, *common, *limits)
        assert named.returncode == 0, named.stderr
        requests = hub.log()
        again = online("run", RECIPE, *common, *limits)
        assert again.json["status"] == "nothing to do"
        assert not [entry for entry in hub.log() if entry["path"].startswith("/cdn")]
        by_path = online("run", RECIPE, *common, *local)
        assert by_path.returncode == 0, by_path.stderr
        assert not [entry for entry in hub.log() if entry["path"].startswith("/cdn")]
    first = selected(store, named.json["stages"])
    assert first == selected(store, by_path.json["stages"])
    assert all(len(documents) > 400 for documents in first.values())
    # Of each file the footer and the wanted columns: no other columns, no other files.
    content = [entry for entry in requests if entry["path"].startswith("/cdn")]
    files = [next((root / "datasets" / FINEWEB / "sample/10BT").iterdir())]
    files += list((root / "datasets" / FINEWEB_2 / "data/deu_Latn/train").iterdir())
    assert all(entry["status"] == 206 and not entry["token"] for entry in content)
    assert len({entry["path"] for entry in content}) == 2
    assert sum(entry["bytes"] for entry in content) < 0.95 * sum(f.stat().st_size for f in files)
