"""A base's folder is pinned whole: its version changes with any file except hidden ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from flows.planning.graph import Graph
from flows.planning.plan import make_plan
from flows.planning.resolve import resolve
from infra.store import Store
from tasks.model.stage import STAGE, ModelParameters

FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "additional_chat_templates/tools.jinja",
    "tokenizer.model",
)


def test_every_file_of_a_base_enters_its_version(tmp_path: Path) -> None:
    base = tmp_path / "base"
    for name in (*FILES, ".cache/huggingface/download/config.json.metadata", ".gitattributes"):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text("as published")
    store = Store.at(str(tmp_path / "store"))

    def version(reference: Path) -> str | None:
        graph = Graph()
        graph.add(replace(STAGE, inputs=()), "main", ModelParameters(base=str(reference)))
        return make_plan(graph, resolve(graph), store, "r").steps["model/main"].version

    versions = [version(base)]
    for name in FILES:
        (base / name).write_text(f"{name} changed")
        versions.append(version(base))
    assert None not in versions and len(set(versions)) == 1 + len(FILES)
    (base / "new.txt").write_text("")
    assert version(base) not in versions

    now = version(base)
    (base / ".cache/huggingface/download/config.json.metadata").write_text(
        "downloaded again, later"
    )
    (base / ".gitattributes").unlink()
    assert version(base) == now
    base.rename(tmp_path / "elsewhere")
    assert version(tmp_path / "elsewhere") == now
