"""Where a recipe that runs once per crawl stands: which runs it builds on, and what is new."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.planning.graph import Graph
from flows.planning.looping.continuing import waits_for, without_effect
from flows.planning.looping.fresh import count, only_new
from flows.planning.looping.history import History, PastRun, names, read_history
from flows.planning.resolve import Earlier, Pins, Unresolved, resolve
from flows.recipe.sections import Recipe
from infra.remote.locations import shown
from infra.store import Store
from tasks.ingest.stage import STAGE as INGEST


@dataclass(frozen=True)
class Turn:
    """One turn of the loop.

    `history`: what this run builds on. `promoted`: the run that is promoted now. `files`: source ->
    files that no run has read, None where that is not known. `pins`: of the ingest nodes, these
    files. `waiting`: why there is nothing to do, as sentences. `again`: whether it is the promoted
    run that is planned once more, as asked for with --only, --from, --until, --force or --pin.
    """

    history: History
    promoted: str | None
    files: Mapping[str, int | None]
    pins: Pins
    waiting: tuple[str, ...] = ()
    again: bool = False
    remarks: tuple[str, ...] = field(default=())

    @property
    def continues(self) -> str | None:
        """The run that this one continues."""
        return self.history.last.run if self.history.last else None

    @property
    def new(self) -> list[str]:
        """Sources with files that no run has read, or may have."""
        return [source for source, number in self.files.items() if number != 0]

    def lines(self) -> list[str]:
        """What `puna plan` says of it."""
        if self.waiting:
            return [f"nothing new since run {self.promoted}", *self.waiting]
        if self.again:
            return [f"the promoted run {self.promoted} once more"]
        if self.continues is None:
            return ["the first run of the loop: it reads everything"]
        files = ", ".join(
            f"{source} {'?' if number is None else f'{number:,}'}"
            for source, number in self.files.items()
        )
        before = len(self.history.runs) - 1
        return [
            f"continues run {self.continues}"
            + (f" and the {before} before it" if before else "")
            + f"; new files by source: {files}"
        ]

    def to_json(self) -> dict[str, Any]:
        """The same for `puna plan --json`."""
        return {
            "promoted": self.promoted,
            "continues": self.continues,
            "new_files": dict(self.files),
            "waiting": list(self.waiting),
            "again": self.again,
        }


def turn_of(
    recipe: Recipe,
    store: Store,
    earlier: Callable[[History], Earlier],
    *,
    selected: bool,
    made: bool = False,
) -> Turn:
    """The turn that a recipe's store and sources are at.

    `selected`: whether parts of the plan are asked for: with nothing new, these are of the promoted
    run. `made`: whether it is about the promoted run anyway. Raises `StageError` where the record
    of a past run is gone.
    """
    history = read_history(store, recipe.name)
    last = history.last
    if last is not None and made:
        return _once_more(recipe, history, last)
    promoted = last.run if last else None
    growing = _growing(recipe)
    found = resolve(
        growing,
        recipe.remote.access(),
        earlier(history),
        may_be_empty=lambda node, reference: history.read_of(node.name, reference) > 0,
    )
    files: dict[str, int | None] = {}
    pins: Pins = {}
    for id, by_path in found.items():
        source = id.partition("/")[2]
        resolved = {path: p for path, p in by_path.items() if not isinstance(p, Unresolved)}
        if len(resolved) < len(by_path):
            files[source], pins[id] = None, by_path
        else:
            new = only_new(resolved, history.read(source))
            files[source], pins[id] = count(new), {**new}
    remarks = tuple(without_effect(recipe, history))
    if last is None:
        return Turn(history, None, files, pins)
    fresh = [source for source, number in files.items() if number != 0]
    waiting = tuple(waits_for(recipe, fresh)) if fresh else _nothing_in(recipe.growing())
    emptied = tuple(_emptied(growing, found, history))
    if waiting:
        waiting += emptied
    else:
        remarks += emptied
    if not waiting or not selected:
        return Turn(history, promoted, files, pins, waiting, remarks=remarks)
    return _once_more(recipe, history, last)


def _once_more(recipe: Recipe, history: History, last: PastRun) -> Turn:
    """The promoted run, planned with the history and the files that it had."""
    read = {source: last.pins[source] for source in recipe.growing() if source in last.pins}
    return Turn(
        history.without_last(),
        last.run,
        {source: count(by_path) for source, by_path in read.items()},
        {f"{INGEST.name}/{source}": {**by_path} for source, by_path in read.items()},
        again=True,
    )


def _growing(recipe: Recipe) -> Graph:
    graph = Graph()
    for source in recipe.growing():
        graph.add(INGEST, source, recipe.sources[source].ingest)
    return graph


def _emptied(growing: Graph, found: Pins, history: History) -> Iterator[str]:
    """References that name nothing any more, as sentences: whether that is meant, or a disk is not
    mounted, a person can tell.
    """
    for id, node in growing.nodes.items():
        for path, references in node.parameters.file_references().items():
            pins = found[id].get(path, ())
            for reference in references:
                if isinstance(pins, Unresolved) or any(names(reference, pin) for pin in pins):
                    continue
                if read := history.read_of(node.name, reference):
                    yield f"{shown(reference)} names no file now; earlier runs read {read:,} there"


def _nothing_in(sources: Sequence[str]) -> tuple[str, ...]:
    return (f"no file of {', '.join(sources)} that it and the runs before it have not read",)
