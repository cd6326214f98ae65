"""`puna export training/PHASE FOLDER --to axolotl --recipe RECIPE`: what axolotl needs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.cli.common import put, say

if TYPE_CHECKING:
    from flows.planning.prepare import Prepared
    from infra.store import Artifact
    from tasks.export.axolotl import Configuration

HELD_OUT = "heldout"


def export_to_axolotl(reference: str, recipe: Path, folder: Path, store: str | None) -> None:
    """Write model, documents and configuration of a phase to a new folder.

    The phase need not be trained, but what it begins from and reads must be built.

    Raises:
        StageError: `folder` exists, something is not built yet, or axolotl has no word for it.
    """
    from flows.planning.prepare import prepare
    from flows.planning.request import RunRequest
    from infra.stage import StageError
    from tasks.export.folder import write_folder

    if folder.exists():
        raise StageError(f"{folder} exists; name a folder that does not, or remove it first")
    prepared = prepare(RunRequest.of(recipe, None, store), made=True)
    steps = prepared.plan.steps
    if reference not in steps or not reference.startswith("training/"):
        phases = ", ".join(id for id in steps if id.startswith("training/")) or "none"
        raise StageError(
            f"--to axolotl exports a phase that {recipe} states; {reference} is none of them: "
            f"{phases}"
        )
    (previous,) = steps[reference].node.inputs["previous"]
    model = _built(prepared, recipe, str(previous))
    selected = {
        str(select): _built(prepared, recipe, str(select))
        for bins in steps[reference].node.inputs["bins"]
        for select in steps[str(bins)].node.inputs["select"]
    }
    building = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        write_folder(model.folder("checkpoint"), building / "model")
        made = _write_data(building, prepared, reference, list(selected.values()))
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    for note in made.notes:
        say(f"note: {note}")
    put(f"cd {folder} && axolotl train axolotl.yaml")


def _built(prepared: Prepared, recipe: Path, id: str) -> Artifact:
    from infra.stage import StageError

    step = prepared.plan.steps[id]
    if step.artifact is None:
        raise StageError(
            f"{id} is not built yet ({step.why}); build it: puna run {recipe} --until {id}"
        )
    return step.artifact


def _write_data(
    folder: Path, prepared: Prepared, reference: str, selected: list[Artifact]
) -> Configuration:
    """Documents and configuration."""
    from infra.stage import StageError
    from tasks.documents.selected import RESERVED_FOLDERS
    from tasks.export import axolotl

    node = prepared.plan.steps[reference].node
    categories = sorted({prepared.plan.steps[str(bins)].node.name for bins in node.inputs["bins"]})
    files: dict[str, list[tuple[str, list[Path]]]] = {"train": [], HELD_OUT: []}
    for category in categories:
        for kind, prefix in (("train", f"{category}/"), (HELD_OUT, f"{HELD_OUT}/{category}/")):
            paths = [
                artifact.path(name)
                for artifact in selected
                for name in artifact.files(prefix)
                if kind == HELD_OUT or name.split("/")[0] not in RESERVED_FOLDERS
            ]
            if paths:
                files[kind].append((category, paths))
    has_sources = any(_has_source(path) for _, paths in files["train"] for path in paths)
    binning: Any = prepared.plan.steps[str(node.inputs["bins"][0])].node.parameters
    made = axolotl.configuration(
        node.parameters.model_dump(mode="json", by_alias=True),
        packing=binning.packing,
        held_out=bool(files[HELD_OUT]),
        has_sources=has_sources,
    )
    segments = _specials(folder / "model") if has_sources else None
    counts = {
        kind: sum(
            axolotl.write_documents(
                paths, folder / "data" / kind / f"{category}.jsonl", segments=segments
            )
            for category, paths in given
        )
        for kind, given in files.items()
    }
    if not counts["train"]:
        raise StageError(f"{reference} reads no documents; nothing to export")
    axolotl.write(folder, made)
    say(f"{counts['train']:,} documents to train on, {counts[HELD_OUT]:,} held out")
    return made


def _has_source(path: Path) -> bool:
    """Whether a document has a part that is not learnt."""
    import json

    with path.open(encoding="utf-8") as lines:
        return any(json.loads(line).get("source") for line in lines)


def _specials(model: Path) -> tuple[str, str]:
    """BOS and EOS, which axolotl does not add to documents in parts."""
    from tasks.checkpoints.tokenizer_settings import read_settings

    settings = read_settings(model)
    return str(settings.get("bos_token") or ""), str(settings.get("eos_token") or "")
