"""From sizes and unit costs to the work of every data stage, on no particular machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from flows.planning.documents import TEXT_STAGES
from flows.planning.graph import Node
from flows.planning.scale.costs import Costs, UnitCost
from flows.planning.scale.sizes import Size
from tasks.binning.stage import STAGE as BINNING
from tasks.classifier.stage import STAGE as CLASSIFIER
from tasks.cut.stage import STAGE as CUT
from tasks.dedup.stage import STAGE as DEDUP
from tasks.embeddings.stage import STAGE as EMBEDDINGS
from tasks.ingest.stage import STAGE as INGEST
from tasks.labels.stage import STAGE as LABELS
from tasks.language_model.stage import STAGE as LANGUAGE_MODEL
from tasks.neighbours.stage import STAGE as NEIGHBOURS
from tasks.select.stage import STAGE as SELECT
from tasks.semantic.stage import STAGE as SEMANTIC
from tasks.token_vectors.stage import STAGE as TOKEN_VECTORS

DATA_STAGES = frozenset(
    {stage.name for stage in (*TEXT_STAGES, BINNING)}
    - {stage.name for stage in (LANGUAGE_MODEL, LABELS, CLASSIFIER, TOKEN_VECTORS)}
)
"""Stages that are predicted. Language models, rubrics, classifiers, token vectors, tokenizer and
model read a sample or no documents.
"""

_OF_PAIRS = (NEIGHBOURS.name, SEMANTIC.name)
_JOINT = (CUT.name, DEDUP.name, *_OF_PAIRS)
"""Stages that read all sources."""

STORE_REQUESTS = 3
"""Of a part that a stage writes: its file, its record and the look whether it is there."""


@dataclass(frozen=True)
class Work:
    """What one node has to do. Seconds are of one core, sizes in bytes, all of them for the node.

    `documents`, `text_bytes`: read; `kept`: handed on. `parts`: files, the most that can run side
    by side. `kind`: of ingest, the format. `one_process_s`, `one_process_bytes`: of the process
    that is not parallel. `source_bytes`, `requests`: from other machines. `writes`, `reads`,
    `scratch`: of the store and of scratch space; `puts`, `gets`: requests for them. `known_from`:
    whose unit costs these are.
    """

    id: str
    stage: str
    documents: float
    text_bytes: float
    kept: float
    parts: int
    core_s: float
    worker_bytes: float
    known_from: str
    kind: str = ""
    fixed_s: float = 0.0
    one_process_s: float = 0.0
    one_process_bytes: float = 0.0
    source_bytes: float = 0.0
    requests: float = 0.0
    s3: bool = False
    reads: float = 0.0
    writes: float = 0.0
    scratch: float = 0.0
    puts: float = 0.0
    gets: float = 0.0
    meeting: float = 0.0


@dataclass
class _Flow:
    """What is left of a source so far, and how it lies in the store."""

    documents: float
    text_bytes: float
    left: float
    parts: int

    @property
    def left_bytes(self) -> float:
        return self.text_bytes * (self.left / self.documents if self.documents else 0.0)


@dataclass(frozen=True)
class Funnel:
    """Shares of documents: source -> kept by cut, and kept by dedup."""

    cut: Mapping[str, float]
    dedup: float
    meeting: float = 0.34
    """Share of compared documents that share a key with another."""


def works(
    nodes: Iterable[Node],
    sizes: Mapping[str, Size],
    costs: Costs,
    funnel: Funnel,
    measured: Mapping[str, UnitCost] | None = None,
) -> list[Work]:
    """The work of every data node, in running order. `measured`: node id -> unit costs that the
    store's own history tells, which count before the shipped ones.
    """
    made = _Made(sizes, costs, funnel, measured or {})
    return [work for node in nodes if (work := made.of(node)) is not None]


@dataclass
class _Made:
    """Follows the documents from node to node."""

    sizes: Mapping[str, Size]
    costs: Costs
    funnel: Funnel
    measured: Mapping[str, UnitCost]
    flows: dict[str, _Flow] = field(default_factory=dict)
    written: dict[str, float] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    shares: dict[str, int] = field(default_factory=dict)
    """Source -> categories that its select feeds."""

    def of(self, node: Node) -> Work | None:
        """The work of a node; None for one that is not predicted."""
        stage = node.stage.name
        if stage not in DATA_STAGES:
            return None
        if stage == INGEST.name:
            return self._ingest(node)
        names = self._sources(node)
        if stage in (CUT.name, DEDUP.name):
            return self._joint(node, names)
        if stage in _OF_PAIRS:
            return self._pairs(node, names)
        if stage == BINNING.name:
            return self._binning(node, names)
        name = names[0]
        flow = self.flows[name]
        work = self._plain(node, flow.documents, flow.text_bytes, flow.parts)
        if stage == SELECT.name:
            write = self._cost(node)[0]
            kept_bytes = flow.left_bytes
            size = write.written(flow.left, kept_bytes)
            self.written[node.id] = size
            return replace(work, kept=flow.left, writes=size)
        return work

    def _ingest(self, node: Node) -> Work:
        size = self.sizes[node.name]
        self.flows[node.name] = _Flow(size.documents, size.text_bytes, size.documents, size.parts)
        cost, whose = self._cost(node, size.kind)
        written = cost.written(size.documents, size.text_bytes)
        self.written[node.id], self.files[node.id] = written, size.parts
        return Work(
            node.id,
            node.stage.name,
            size.records,
            size.text_bytes,
            size.documents,
            size.parts,
            cost.seconds(size.records, size.text_bytes),
            cost.worker_bytes,
            whose,
            size.kind,
            fixed_s=cost.fixed_s,
            one_process_s=size.parts * cost.one_process_part_ms / 1e3,
            source_bytes=size.source_bytes,
            requests=size.requests,
            s3=size.s3,
            reads=0.0 if size.source_bytes else size.file_bytes,
            writes=written,
            puts=STORE_REQUESTS * size.parts,
        )

    def _joint(self, node: Node, names: list[str]) -> Work:
        """Cut and dedup, which read all sources."""
        flows = [self.flows[name] for name in names]
        rows = sum(flow.documents for flow in flows)
        parts = sum(flow.parts for flow in flows)
        work = self._plain(node, rows, sum(flow.text_bytes for flow in flows), parts)
        compared = sum(flow.left for flow in flows)
        for name, flow in zip(names, flows, strict=True):
            share = self.funnel.cut.get(name, 1.0)
            flow.left *= share if node.stage.name == CUT.name else self.funnel.dedup
        kept = sum(flow.left for flow in flows)
        if node.stage.name == CUT.name:
            return replace(work, kept=kept)
        cost, _ = self._cost(node)
        meeting = compared * self.funnel.meeting
        return replace(
            work,
            kept=kept,
            core_s=cost.seconds(compared, 0.0),
            one_process_s=work.one_process_s + rows * cost.one_process_us / 1e6,
            one_process_bytes=rows * cost.one_process_bytes,
            scratch=compared * cost.scratch_bytes,
            meeting=meeting,
        )

    def _pairs(self, node: Node, names: list[str]) -> Work:
        """The search for pairs, and the election among them: of what dedup left. How many these
        are is not known before, so that all of them go on.
        """
        flows = [self.flows[name] for name in names]
        left = sum(flow.left for flow in flows)
        cost, _ = self._cost(node)
        work = self._plain(node, left, 0.0, sum(flow.parts for flow in flows))
        return replace(
            work,
            one_process_bytes=left * cost.one_process_bytes,
            scratch=left * cost.scratch_bytes,
        )

    def _binning(self, node: Node, names: list[str]) -> Work:
        """A category: of a source that feeds several, an equal share."""
        documents = text = 0.0
        parts = 0
        for name in names:
            flow = self.flows[name]
            share = 1 / max(self.shares.get(name, 1), 1)
            documents += flow.left * share
            text += flow.left_bytes * share
            parts += flow.parts
        return self._plain(node, documents, text, max(parts, 1))

    def _plain(self, node: Node, documents: float, text_bytes: float, parts: int) -> Work:
        of_base = node.stage.name == EMBEDDINGS.name and "tokens" in node.inputs
        cost, whose = self._cost(node, "base" if of_base else "")
        upstream = [id for id in node.upstream() if id in self.written]
        reads = sum(self.written[id] * cost.reads.get(id.partition("/")[0], 1.0) for id in upstream)
        written = cost.written(documents, text_bytes)
        self.written[node.id], self.files[node.id] = written, parts
        return Work(
            node.id,
            node.stage.name,
            documents,
            text_bytes,
            documents,
            parts,
            cost.seconds(documents, text_bytes),
            cost.worker_bytes,
            whose,
            fixed_s=cost.fixed_s,
            one_process_s=parts * cost.one_process_part_ms / 1e3,
            reads=reads,
            writes=written,
            puts=STORE_REQUESTS * parts,
            gets=sum(self.files[id] for id in upstream),
        )

    def _sources(self, node: Node) -> list[str]:
        """Sources whose documents a node reads."""
        if node.name in self.flows and node.stage.name not in _JOINT:
            return [node.name]
        read = {id.partition("/")[2] for id in node.upstream()}
        return [name for name in self.flows if name in read]

    def _cost(self, node: Node, kind: str = "") -> tuple[UnitCost, str]:
        if node.id in self.measured:
            cost = self.measured[node.id]
            return cost, cost.origin
        found = self.costs.stage(node.stage.name, kind)
        return (found, found.origin) if found is not None else (UnitCost(), "no unit cost")
