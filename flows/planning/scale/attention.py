"""What a plan on a cluster says beside its figures: what does not fit, and what is assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flows.planning.reading import in_bytes
from flows.planning.scale import grouping
from flows.planning.scale.cluster import Cluster
from flows.planning.scale.grouping import Grouping
from flows.planning.scale.sizes import Size
from flows.planning.scale.works import Work
from flows.recipe.sections import Recipe
from tasks.dedup.stage import STAGE as DEDUP

MANY = 10**8
"""Documents from which a component may outgrow a worker."""

BATCH_BYTES = 728
"""Of a document that is elected (docs/dedup.md)."""


def unfit(
    todo: Sequence[Work],
    cluster: Cluster,
    recipe: Recipe,
    grouped: Grouping | None,
    wanted: float,
) -> list[str]:
    """What would stop the run on this cluster."""
    said = []
    for work in todo:
        if work.worker_bytes > cluster.memory:
            said.append(
                f"{work.id}: a worker needs {in_bytes(work.worker_bytes)}, a node has "
                f"{in_bytes(cluster.memory)}"
            )
        if work.one_process_bytes > cluster.memory:
            said.append(
                f"{work.id}: one process needs {in_bytes(work.one_process_bytes)} for "
                f"{work.documents:,.0f} documents, a node has {in_bytes(cluster.memory)}: take a "
                "node with more memory, or fewer documents a run (earlier ones in dedup.history, "
                "which holds survivors alone)"
            )
        if work.stage == DEDUP.name and work.documents > grouping.MOST_DOCUMENTS:
            said.append(
                f"{work.id}: {work.documents:,.0f} documents are more than the "
                f"{grouping.MOST_DOCUMENTS:,} that one run can number: run crawl by crawl, with "
                "the earlier ones in dedup.history"
            )
    stored = sum(work.writes for work in todo)
    scratch = max((work.scratch for work in todo), default=0.0)
    room = cluster.disk * cluster.nodes
    lying = scratch + (stored if cluster.store == "disk" else 0.0)
    if lying > room:
        said.append(
            f"disk: {in_bytes(lying)} of {'artifacts and ' if cluster.store == 'disk' else ''}"
            f"scratch space, the nodes have {in_bytes(room)}: larger disks, or a share of the "
            "documents at a time"
        )
    if grouped is not None and recipe.dedup is not None:
        total = cluster.nodes * cluster.memory
        if grouped.memory > total:
            said.append(
                f"dedup needs {in_bytes(grouped.memory)} in all processes together, the nodes have "
                f"{in_bytes(total)}: more memory, or fewer documents a run"
            )
        elif grouped.memory > recipe.dedup.memory:
            said.append(
                f"dedup.memory: {in_bytes(recipe.dedup.memory)} in the recipe, at least "
                f"{in_bytes(grouped.memory)} needed here; set {wanted / 1e9:.0f}G (assumed below)"
            )
    if cluster.nodes > 1 and recipe.engine.kind != "ray":
        said.append(
            f"{cluster.nodes} nodes need engine.kind: ray, and a store that all of them see: on "
            "s3://, or on a file system that they share"
        )
    return said


def notes(
    by_source: Mapping[str, Size], todo: Sequence[Work], told: Mapping[str, object]
) -> list[str]:
    """What is assumed, and of what."""
    said = [
        f"source {name}: {size.records:,.0f} records, {size.documents:,.0f} documents of "
        f"{size.text_bytes / max(size.documents, 1) / 1e3:.1f} kB ({size.how})"
        for name, size in by_source.items()
    ]
    compared = next((work for work in todo if work.stage == DEDUP.name), None)
    if compared is not None and compared.documents > MANY:
        tenth = compared.meeting / 10 * BATCH_BYTES
        said.append(
            "dedup elects documents that template text connects in one process: a tenth of those "
            f"that meet would be {in_bytes(tenth)}; raise dedup.rows, or use line_dedup, where the "
            "stage says so"
        )
    if told:
        said.append(
            "unit costs of this store's own runs: "
            + "; ".join(f"{w.id} ({w.known_from})" for w in todo if w.id in told)
        )
    lacking = [work.id for work in todo if work.known_from == "no unit cost"]
    if lacking:
        said.append(f"no unit cost is known of {', '.join(lacking)}: counted as nothing")
    return said
