"""`puna inspect`: read the documents behind a decision."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.common import (
    JsonOption,
    StoreUrl,
    find_input,
    find_store,
    open_artifact,
    open_store,
    put,
    refusals,
)

if TYPE_CHECKING:
    from rich.console import Console

    from infra.store import Artifact, Store
    from tasks.documents.choosing import Request

MOST_LISTED = 20
EXCERPT_CHARACTERS = 1_000
OF_CLUSTERS = ("cluster", "members")
"""Options that belong to `ELECTIONS`; all others but --store and --json to the other stages."""
ELECTIONS = ("dedup", "semantic")
"""Stages whose decisions are clusters."""


def inspect(
    context: typer.Context,
    stage: Annotated[
        str,
        typer.Option(
            "--stage",
            help="ingest, line_dedup, langid, quality, perplexity, decontaminate, pii, cut, "
            "dedup or semantic; or one artifact, such as quality/web@VERSION.",
            show_default=False,
        ),
    ],
    source: Annotated[
        str | None, typer.Option("--source", metavar="NAME", help="Only this source.")
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            "--rule",
            metavar="REASON",
            help="Documents with this reason or group of reasons, such as gopher or "
            "langid.threshold, beside some that pass; repeatable.",
        ),
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option("--language", metavar="CODE", help="Only this language; repeatable."),
    ] = None,
    percentile: Annotated[
        str | None,
        typer.Option(
            "--percentile",
            metavar="LOW:HIGH",
            help="Only documents whose score is in this range of percentiles, such as 25:35; of "
            "quality, the value of --rule; of ingest, the bytes of text.",
        ),
    ] = None,
    kept: Annotated[bool, typer.Option("--kept", help="Show kept documents.")] = False,
    edited: Annotated[
        bool, typer.Option("--edited", help="Show documents that lose some of their text.")
    ] = False,
    dropped: Annotated[bool, typer.Option("--dropped", help="Show dropped documents.")] = False,
    near_limit: Annotated[
        bool, typer.Option("--near-limit", help="Show those closest to the limit on both sides.")
    ] = False,
    sample: Annotated[
        int, typer.Option("--sample", min=1, max=1_000, help="Documents to show.")
    ] = 6,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Another number shows other documents.")
    ] = 0,
    words: Annotated[
        int, typer.Option("--words", min=10, help="Words to show of a long document.")
    ] = 120,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            metavar="ID",
            help="dedup, semantic: a cluster: 1 is the largest; or how a document's id begins.",
        ),
    ] = None,
    members: Annotated[
        int, typer.Option("--members", min=1, help="dedup, semantic: removed documents to show.")
    ] = 5,
    store: StoreUrl = "artifacts",
    as_json: JsonOption = False,
) -> None:
    """Show real documents that a stage kept and dropped, with the value and the limit. Of dedup and
    semantic, compare the removed documents of a cluster with the one kept; without --cluster, list
    the clusters.
    """
    from infra.stage import StageError

    with refusals():
        name = stage.partition("@")[0].partition("/")[0]
        given = _given(context)
        wrong = [o for o in given if (o in OF_CLUSTERS) != (name in ELECTIONS)]
        if wrong:
            stages = "dedup and semantic" if wrong[0] in OF_CLUSTERS else "the other stages"
            raise StageError(f"--{wrong[0].replace('_', '-')} belongs to {stages}, not to {name}")
    if name in ELECTIONS:
        _clusters(stage, cluster, members, store, as_json)
        return
    fates = [
        fate for fate, shown in (("kept", kept), ("edited", edited), ("dropped", dropped)) if shown
    ]
    with refusals():
        _documents_of(
            stage,
            source,
            _request(name, rule, language, percentile, fates, near_limit, sample, seed),
            words,
            store,
            as_json,
            {key: value for key, value in given.items() if key not in ("sample", "seed", "words")},
        )


def _given(context: typer.Context) -> dict[str, Any]:
    """The options that were typed, apart from those that every stage has."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {
        name: value
        for name, value in context.params.items()
        if name not in ("stage", "store", "as_json")
        and (source := sources[name]) is not None
        and source.name == "COMMANDLINE"
    }


def _request(
    stage: str,
    rule: list[str] | None,
    language: list[str] | None,
    percentile: str | None,
    fates: list[str],
    near_limit: bool,
    sample: int,
    seed: int,
) -> Request:
    from flows.inspecting.look import EDITING
    from flows.recipe.errors import nearest
    from infra.stage import StageError
    from tasks.documents.choosing import Request
    from tasks.documents.verdicts import DROPPED, EDITED, STAGES

    if stage not in STAGES:
        raise StageError(
            f"{stage} decides nothing about documents{nearest(stage, [*STAGES])}; inspect reads "
            f"{', '.join(STAGES)}, dedup and semantic"
        )
    if stage in EDITING and not fates:
        fates = [EDITED, DROPPED]
    return Request(
        tuple(fates),
        tuple(rule or ()),
        tuple(language or ()),
        _range(percentile) if percentile else None,
        sample,
        seed,
        near_limit,
    )


def _range(text: str) -> tuple[float, float]:
    from infra.stage import StageError

    try:
        low, high = map(float, text.split(":"))
    except ValueError:
        low, high = 1.0, 0.0
    if not 0 <= low <= high <= 100:
        raise StageError(f"--percentile {text}: write two numbers from 0 to 100, such as 25:35")
    return low, high


def _documents_of(
    stage: str,
    source: str | None,
    request: Request,
    words: int,
    store: str,
    as_json: bool,
    given: dict[str, Any],
) -> None:
    from flows.inspecting.inputs import find
    from flows.inspecting.look import look

    answer = look(
        find(find_store(store), stage, source),
        stage.partition("@")[0].partition("/")[0],
        request,
        words,
    )
    if as_json:
        put(json.dumps(answer.json(), ensure_ascii=False))
        return
    from flows.inspecting.page import in_words, write
    from flows.monitoring.console import result_console

    write(result_console(), answer, in_words(given))


def _clusters(stage: str, cluster: str | None, members: int, store: str, as_json: bool) -> None:
    """Clusters of duplicates: a table of the largest, or one of them in full."""
    artifact = open_artifact(store, stage)
    with refusals():
        rows = _largest(artifact) if cluster is None else [_cluster(artifact, cluster)]
    if as_json:
        put(json.dumps({"clusters": rows}, ensure_ascii=False))
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
    from tasks.duplicates.inspect import find_cluster

    return find_cluster(artifact.path("clusters.parquet"), wanted)


def _read(artifact: Artifact, row: dict[str, Any], most: int, store: str, console: Console) -> None:
    """Print the kept document, and each removed one with its differences."""
    from rich.text import Text

    from flows.monitoring.console import marked
    from tasks.duplicates.inspect import diff_lines, read_documents

    shown = row["members"][:most]
    opened = open_store(store)
    documents = _documents(opened, artifact)
    if row["crawl"]:
        documents += _documents(opened, opened.open(row["crawl"]))
    texts = read_documents(documents, [row["representative"], *(member["id"] for member in shown)])
    source = f"{row['source']} of {row['crawl']}" if row["crawl"] else row["source"]
    size = f"{row['size']:,} documents in the cluster"
    console.print(Text.assemble(("kept", "bold"), f"  {row['representative']}  {source}   {size}"))
    kept = texts.get(row["representative"])
    console.print(_excerpt(kept), highlight=False, soft_wrap=True)
    for member in shown:
        how = f"{member['kind']}, similarity {member['similarity']:.3f}"
        what = f"  {member['id']}  {member['source']}   {how}"
        console.print(Text.assemble("\n", ("removed", "bold"), what))
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
