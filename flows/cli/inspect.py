"""`puna inspect`: read the documents behind a decision."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.common import JsonOption, StoreUrl, find_input, open_artifact, open_store, refusals

if TYPE_CHECKING:
    from rich.console import Console

    from infra.store import Artifact, Store

MOST_LISTED = 20
EXCERPT_CHARACTERS = 1_000


def inspect(
    stage: Annotated[
        str,
        typer.Option(
            "--stage", help="The artifact: dedup, or dedup/main@VERSION.", show_default=False
        ),
    ],
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            metavar="ID",
            help="A cluster: 1 is the largest; or the beginning of a document's id.",
        ),
    ] = None,
    members: Annotated[
        int, typer.Option("--members", min=1, help="Removed documents to show.")
    ] = 5,
    store: StoreUrl = "artifacts",
    as_json: JsonOption = False,
) -> None:
    """Compare the removed documents of a duplicate cluster with the one kept; without --cluster,
    list the clusters.
    """
    from infra.stage import StageError

    artifact = open_artifact(store, stage)
    with refusals():
        if artifact.stage != "dedup":
            raise StageError(f"{artifact.identity} has no clusters; inspect reads --stage dedup")
        rows = _largest(artifact) if cluster is None else [_cluster(artifact, cluster)]
    if as_json:
        print(json.dumps({"clusters": rows}, ensure_ascii=False))
        return
    from flows.monitoring.console import cluster_table, result_console

    console = result_console()
    if cluster is None:
        console.print(cluster_table(rows))
        is_default = store in ("artifacts", os.environ.get("PUNA_STORE"))
        option = "" if is_default else f" --store {store}"
        console.print(
            f"\n{artifact.statistics['clusters']:,} clusters; read one: puna inspect --stage "
            f"{stage} --cluster 1{option}",
            soft_wrap=True,
            highlight=False,
        )
        return
    with refusals():
        _read(artifact, rows[0], members, store, console)


def _largest(artifact: Artifact) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    reader = pq.ParquetFile(artifact.path("clusters.parquet"))
    batch = next(reader.iter_batches(MOST_LISTED), None)
    return [] if batch is None else [_without_long_lists(row) for row in batch.to_pylist()]


def _without_long_lists(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "members": row["members"][:MOST_LISTED]}


def _cluster(artifact: Artifact, wanted: str) -> dict[str, Any]:
    from tasks.dedup.inspect import find_cluster

    return find_cluster(artifact.path("clusters.parquet"), wanted)


def _read(artifact: Artifact, row: dict[str, Any], most: int, store: str, console: Console) -> None:
    """Print the kept document, and each removed one with its differences."""
    from flows.monitoring.console import marked
    from tasks.dedup.inspect import diff_lines, read_documents

    shown = row["members"][:most]
    opened = open_store(store)
    documents = _documents(opened, artifact)
    if row["crawl"]:
        documents += _documents(opened, opened.open(row["crawl"]))
    texts = read_documents(documents, [row["representative"], *(member["id"] for member in shown)])
    source = f"{row['source']} of {row['crawl']}" if row["crawl"] else row["source"]
    console.print(
        f"[bold]kept[/]  {row['representative']}  {source}   {row['size']:,} documents in the "
        "cluster",
        highlight=False,
    )
    kept = texts.get(row["representative"])
    console.print(_excerpt(kept), markup=False, highlight=False, soft_wrap=True)
    for member in shown:
        console.print(
            f"\n[bold]removed[/]  {member['id']}  {member['source']}   {member['kind']}, "
            f"similarity {member['similarity']:.3f}",
            highlight=False,
        )
        removed = texts.get(member["id"])
        if kept is None or removed is None:
            console.print("(its documents artifact is no longer in the store)")
        elif kept == removed:
            console.print("(exactly the same text)")
        else:
            console.print(marked("\n".join(diff_lines(kept, removed))), soft_wrap=True)
    if row["size"] - 1 > len(shown):
        console.print(f"\n{row['size'] - 1 - len(shown):,} more; show them with --members N")


def _documents(store: Store, artifact: Artifact) -> list[tuple[Artifact, Artifact | None]]:
    """The documents artifacts that a dedup or select artifact read, each with the line_dedup
    artifact whose edits applied, if any.
    """
    edited_by: dict[str, Artifact] = {}
    for signatures in artifact.manifest.inputs.get("signatures", ()):
        for given in find_input(store, signatures).manifest.inputs.get("line_dedup", ()):
            edited_by[given.name] = find_input(store, given)
    read = [find_input(store, given) for given in artifact.manifest.inputs["documents"]]
    return [(documents, edited_by.get(documents.name)) for documents in read]


def _excerpt(text: str | None) -> str:
    if text is None:
        return "(its documents artifact is no longer in the store)"
    rest = len(text) - EXCERPT_CHARACTERS
    return text if rest <= 0 else f"{text[:EXCERPT_CHARACTERS]} ... ({rest:,} more characters)"
