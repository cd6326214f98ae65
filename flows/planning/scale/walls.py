"""From work to hours on a cluster, and what holds it up: pure arithmetic."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from flows.planning.scale.cluster import Cluster
from flows.planning.scale.costs import Network
from flows.planning.scale.grouping import Grouping
from flows.planning.scale.works import Work

PROCESSOR, FILES, SOURCE, REQUESTS, STORE, DISK, ONE = (
    "processor",
    "opening files",
    "network of the source",
    "requests to the source",
    "network of the store",
    "disk",
    "one process",
)
"""What a stage can wait for."""

Removed = Collection[tuple[str, str]]
"""(stage, what it waits for) that is taken to cost no time."""


@dataclass(frozen=True)
class Wall:
    """Seconds of a node by what they go to: `parallel` side by side (the longest counts, processor
    and opening files one after the other), and one process after them.
    """

    work: Work
    workers: int
    parallel: dict[str, float]
    one_process: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.working + self.one_process

    @property
    def working(self) -> float:
        """Until the last worker ends."""
        inside = self.parallel.get(PROCESSOR, 0.0) + self.parallel.get(FILES, 0.0)
        return max([inside, *self.parallel.values()])

    def waits(self) -> dict[str, float]:
        """What the seconds go to: the longest of the parallel ones, and one process."""
        inside = self.parallel.get(PROCESSOR, 0.0) + self.parallel.get(FILES, 0.0)
        others = {k: v for k, v in self.parallel.items() if k not in (PROCESSOR, FILES)}
        longest = max(others, key=lambda k: others[k], default=PROCESSOR)
        found = {ONE: self.one_process}
        if others and others[longest] > inside:
            return {**found, longest: others[longest]}
        return found | {
            PROCESSOR: self.parallel.get(PROCESSOR, 0.0),
            FILES: self.parallel.get(FILES, 0.0),
        }


def wall(
    work: Work,
    cluster: Cluster,
    network: Network,
    connections: int,
    grouped: Grouping | None = None,
    removed: Removed = (),
) -> Wall:
    """The seconds of a node. `connections`: to a host at a time, of each node. `grouped`: of dedup,
    its division.
    """
    workers = cluster.workers(work.worker_bytes, work.parts)
    each = network.s3_mb_s if work.s3 else network.https_mb_s
    wait = network.s3_request_s if work.s3 else network.https_request_s
    open_at_once = connections * cluster.nodes
    source = min(cluster.source_bytes_s, open_at_once * each * 1e6)
    moved = work.reads + work.writes
    spilled = 2 * work.scratch  # written and read again
    disk_s = cluster.nodes * cluster.disk_mb_s * 1e6
    parallel = {
        PROCESSOR: work.core_s / cluster.speed / workers + work.fixed_s / cluster.speed,
        FILES: (grouped.opens if grouped is not None else 0.0) * cluster.open_s / workers,
        SOURCE: work.source_bytes / source,
        REQUESTS: work.requests * wait / open_at_once,
    }
    if cluster.store == "disk":
        parallel[DISK] = (moved + spilled) / disk_s
    else:
        parallel[STORE] = moved / cluster.store_bytes_s
        parallel[DISK] = spilled / disk_s
    gone = {what for stage, what in removed if stage == work.stage}
    parallel = {what: 0.0 if what in gone else s for what, s in parallel.items()}
    one = 0.0 if ONE in gone else work.one_process_s / cluster.speed
    return Wall(work, workers, parallel, one)


@dataclass(frozen=True)
class Bottleneck:
    """What most of the time goes to: `seconds` of `of` seconds in all, and what to change."""

    stage: str
    what: str
    seconds: float
    of: float
    change: str


class Timed:
    """All nodes on one cluster."""

    def __init__(
        self,
        works: Sequence[Work],
        cluster: Cluster,
        network: Network,
        connections: int,
        grouped: Grouping | None = None,
    ) -> None:
        self.works, self.cluster, self.network = works, cluster, network
        self.connections, self.grouped = connections, grouped

    def walls(self, removed: Removed = ()) -> list[Wall]:
        """Of every node; stages run one after the other, since each can use the whole cluster."""
        return [
            wall(
                work,
                self.cluster,
                self.network,
                self.connections,
                self.grouped if work.stage == "dedup" else None,
                removed,
            )
            for work in self.works
        ]

    def bottlenecks(self, count: int = 2) -> list[Bottleneck]:
        """What most seconds go to; then, were that to cost nothing, what most seconds go to."""
        found: list[Bottleneck] = []
        removed: list[tuple[str, str]] = []
        for _ in range(count):
            walls = self.walls(removed)
            waits: dict[tuple[str, str], float] = {}
            for one in walls:
                for what, seconds in one.waits().items():
                    key = (one.work.stage, what)
                    waits[key] = waits.get(key, 0.0) + seconds
            if not waits:
                break
            key = max(waits, key=lambda k: waits[k])
            if waits[key] <= 0:
                break
            total = sum(one.seconds for one in walls)
            found.append(Bottleneck(*key, waits[key], total, self._change(*key, walls)))
            removed.append(key)
        return found

    def _change(self, stage: str, what: str, walls: Sequence[Wall]) -> str:
        """What to do about it, on this cluster."""
        mine = [one for one in walls if one.work.stage == stage]
        workers = max(one.workers for one in mine)
        if what == PROCESSOR:
            parts = max(one.work.parts for one in mine)
            if workers < self.cluster.all_cores and workers >= parts:
                return f"its {parts:,} parts keep {workers:,} of the cores busy: use fewer cores"
            if workers < self.cluster.all_cores:
                need = max(one.work.worker_bytes for one in mine)
                return (
                    f"a worker needs {need / 1e9:.1f} GB, so that only {workers:,} of "
                    f"{self.cluster.all_cores:,} cores work: take nodes with more memory a core"
                )
            if stage == "ingest" and any(one.work.kind == "warc" for one in mine):
                return "more cores; or read Common Crawl's own text of pages (kind: wet)"
            return "more cores: this part divides by any number of them"
        if what == FILES:
            assert self.grouped is not None
            return (
                f"{self.grouped.opens:,.0f} files are opened, one for each part and each of "
                f"{self.grouped.partitions:,} partitions and {self.grouped.batches:,} batches: "
                "fewer and larger parts (fewer, larger input files), and scratch space on local "
                "disks"
            )
        if what == SOURCE:
            limit = self.connections * self.cluster.nodes
            each = self.network.s3_mb_s if any(w.work.s3 for w in mine) else self.network.https_mb_s
            if limit * each * 1e6 > self.cluster.source_bytes_s:
                return (
                    f"the nodes take {self.cluster.source_bytes_s * 8 / 1e9:g} Gbit/s together: a "
                    "faster network or more nodes; or fewer bytes (kind: wet, or select)"
                )
            if any(not one.work.s3 for one in mine if one.work.source_bytes):
                return (
                    f"read from inside Amazon's us-east-1 (host: s3://commoncrawl/), not with "
                    f"{limit:,} connections over https"
                )
            return f"more than {limit:,} connections (remote.connections), or more nodes"
        if what == REQUESTS:
            return (
                "read whole archives instead of ranges (leave select out), or raise "
                "remote.connections where the host allows it"
            )
        if what in (STORE, DISK):
            return {
                STORE: "more nodes, or nodes with a faster network",
                DISK: "faster disks, or more of them",
            }[what]
        return (
            "no number of nodes helps: fewer documents a run (one crawl, with earlier ones in "
            "dedup.history, which holds survivors alone), in fewer and larger parts"
        )
