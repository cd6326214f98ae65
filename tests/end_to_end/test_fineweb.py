"""FineWeb by name, from a hub on this machine, to selected documents; and the same by path.

Without Prefect and in this process, as the names are what matters; configs/fineweb-small.yaml is
the whole of it by `puna run`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.engine import EngineConfig
from infra.store import Artifact
from tests.end_to_end.direct import run_direct
from tests.loopback.fineweb import FINEWEB, FINEWEB_2, write_hub
from tests.loopback.hub_fixture import point_at, running_hub

SMALL = Path(__file__).resolve().parents[2] / "configs" / "fineweb-small.yaml"
NAMED = """\
extends: {small}
name: named
sources:
  fineweb: {{ingest: {{limit: 600}}, quality: null}}
  fineweb-2: {{ingest: {{limit: 600}}, quality: null}}
"""
BY_PATH = """\
extends: named.yaml
name: by-path
sources:
  fineweb:
    ingest: {{format: parquet, dataset: "", name: "", paths: ["{english}/*"]}}
  fineweb-2:
    ingest: {{format: parquet, dataset: "", name: "", split: null, paths: ["{german}/*"]}}
"""
INLINE = EngineConfig(kind="inline")


def selected(artifacts: Mapping[str, Artifact]) -> dict[str, list[tuple[str, str]]]:
    """Source -> (id, text) of every document that was kept or held out."""
    found = {}
    for source in ("fineweb", "fineweb-2"):
        artifact = artifacts[f"select/{source}"]
        rows = [
            json.loads(line)
            for name in artifact.files()
            if name.endswith(".jsonl")
            for line in artifact.path(name).read_text(encoding="utf-8").splitlines()
        ]
        found[source] = sorted((row["id"], row["target"]) for row in rows)
    return found


def test_by_name_and_by_path_select_the_same_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, store = tmp_path / "hub", tmp_path / "store"
    write_hub(root, rows=700)
    english = root / "datasets" / FINEWEB / "sample/10BT"
    german = root / "datasets" / FINEWEB_2 / "data/deu_Latn/train"
    named, by_path = tmp_path / "named.yaml", tmp_path / "by-path.yaml"
    named.write_text(NAMED.format(small=SMALL))
    by_path.write_text(BY_PATH.format(english=english, german=german))
    with running_hub(root) as hub:
        point_at(hub, tmp_path / "home", monkeypatch)
        found = selected(run_direct(named, store, INLINE, until="select"))
        content = [entry for entry in hub.log() if entry["path"].startswith("/cdn")]
        assert selected(run_direct(by_path, store, INLINE, until="select")) == found
        assert not [entry for entry in hub.log() if entry["path"].startswith("/cdn")]
    assert all(len(documents) > 400 for documents in found.values())
    # Of each file the footer (64 KB, when planned and when read) and the wanted columns; nothing of
    # FineWeb's second file.
    files = [sorted(english.iterdir())[0], *german.iterdir()]
    assert all(entry["status"] == 206 and not entry["token"] for entry in content)
    assert len({entry["path"] for entry in content}) == len(files) == 2
    whole = sum(file.stat().st_size for file in files)
    assert sum(entry["bytes"] for entry in content) < whole + 4 * 65_536
