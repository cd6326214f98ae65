"""`puna push`: a model, selected text or bins as a repository of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.common import RefArgument, StoreUrl, find_artifact, open_store, put, refusals, say

if TYPE_CHECKING:
    from infra.store import Artifact, Store
    from tasks.export.hub_repository import Kind
    from tasks.report.card import Subject

KINDS: dict[str, Kind] = {
    "training": "model",
    "model": "model",
    "select": "dataset",
    "binning": "dataset",
}


def push(
    reference: RefArgument,
    repository: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="Its name there.", show_default=False)
    ],
    licence: Annotated[
        str,
        typer.Option("--license", help="Its licence, such as apache-2.0; else none is stated."),
    ] = "",
    private: Annotated[bool, typer.Option("--private", help="Only you see a new one.")] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Put a commit on one that is there already.")
    ] = False,
    card: Annotated[
        Path | None,
        typer.Option(help="Only write the card to this file, to read it first; nothing is sent."),
    ] = None,
    store: StoreUrl = "artifacts",
) -> None:
    """Upload a model (training/PHASE, model/main), selected text (select/SOURCE) or bins
    (binning/CATEGORY) to the Hugging Face hub, with a card made from what the store knows of it.

    HF_TOKEN says who you are, HF_ENDPOINT where the hub is. All files appear in one commit.
    """
    from infra.secrets import redacted
    from infra.stage import StageError
    from tasks.export import hub_repository
    from tasks.report import card as cards

    with refusals():
        hub_repository.require_name(repository)
        artifact = find_artifact(store, reference)
        if artifact.stage not in KINDS:
            raise StageError(
                f"{artifact.identity} is nothing that a hub holds; name training/PHASE, "
                "model/main, select/SOURCE or binning/CATEGORY"
            )
        kind = KINDS[artifact.stage]
        if card is None:
            hub_repository.require_place(repository, kind, update=update)
        files = dict(_files(artifact))
        text = redacted(cards.card(_subject(open_store(store), artifact, repository, licence)))
        if card is not None:
            card.write_text(text, encoding="utf-8")
            say(f"{len(files)} files would be sent with this card:")
            put(card)
            return
        size = sum(path.stat().st_size for path in files.values())
        say(f"sending {len(files)} files, {size:,} bytes ...")
        address = hub_repository.upload(
            repository,
            kind,
            files,
            text,
            private=private,
            message=f"{artifact.identity} by puna",
        )
        put(address)


def _files(artifact: Artifact) -> Iterator[tuple[str, Path]]:
    """Names in the repository, and the files."""
    from infra.stage import StageError
    from tasks.documents.selected import HELD_OUT_FOLDER, INDEX_FOLDER
    from tasks.export.folder import check_parts

    names = artifact.files()
    if KINDS[artifact.stage] == "model":
        names = artifact.files("checkpoint/")
        if not names:
            raise StageError(f"{artifact.identity} holds no model; name training/PHASE")
        check_parts(artifact.folder("checkpoint"))
        yield from ((name.removeprefix("checkpoint/"), artifact.path(name)) for name in names)
    elif artifact.stage == "select":
        for name in names:
            folder = name.split("/")[0]
            if folder == HELD_OUT_FOLDER:
                yield f"test/{name.removeprefix(f'{HELD_OUT_FOLDER}/')}", artifact.path(name)
            elif folder != INDEX_FOLDER:
                yield f"train/{name}", artifact.path(name)
    else:
        yield from ((name, artifact.path(name)) for name in names)


def _subject(store: Store, artifact: Artifact, repository: str, licence: str) -> Subject:
    """What the card is of: the artifact within the latest run that has it."""
    from flows.inspecting.runs import grouped
    from tasks.report.card import Subject
    from tasks.report.contents import contents

    found: dict[str, tuple[Artifact, ...]] = {artifact.stage: (artifact,)}
    recipe: dict[str, Any] = {}
    identity = (artifact.stage, artifact.name, artifact.version)
    for record in reversed(list(store.runs())):
        stages = [(one["stage"], one["name"], one["version"]) for one in record["stages"]]
        if identity in stages:
            found = grouped(store.find(*one) for one in stages if one[2])
            recipe = record.get("recipe_data") or {}
            break
    else:
        say("no run record names this artifact: its card says less")
    selected = found.get("select", ()) if artifact.stage != "select" else (artifact,)
    if artifact.stage == "binning":
        read = {given.identity for given in artifact.manifest.inputs.get("select", ())}
        selected = tuple(one for one in selected if one.identity in read)
    return Subject(artifact, repository, found, recipe, contents(selected), licence)
