"""What became of a document in a recipe's stages, from the file that it was read from to the line
that training reads, or to the stage that dropped it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from flows.inspecting.explain import Measured, measured
from tasks.documents.scoring import classifier_of, source_of

if TYPE_CHECKING:
    from infra.store import Artifact
    from tasks.documents.lookup import Place

Artifacts = Mapping[str, "Artifact"]
"""`stage/name` -> artifact, of one recipe."""

ELECTIONS = {"dedup": "dedup: false", "semantic": "semantic.without"}
"""Stages that compare documents -> what leaves a source out."""


@dataclass(frozen=True)
class Told:
    """What an artifact says of a document. `fate`: kept, dropped, or "" if it decides nothing."""

    artifact: str
    fate: str
    what: str


@dataclass(frozen=True)
class Fate:
    """A document and all that is told of it, in the order of the stages."""

    place: Place
    told: tuple[Told, ...]

    def json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {**asdict(self.place), "told": [asdict(one) for one in self.told]}


def fates(artifacts: Artifacts, wanted: str) -> list[Fate]:
    """The fate of each document whose id begins with `wanted`, or that is from this URL."""
    from tasks.documents.lookup import places

    documents = [one for one in artifacts.values() if one.stage == "ingest"]
    return [Fate(place, tuple(_told(artifacts, place))) for place in places(documents, wanted)]


def _told(artifacts: Artifacts, place: Place) -> Iterator[Told]:
    where = f"{place.file}, byte {place.offset:,}; {place.characters:,} characters"
    yield Told(artifacts[f"ingest/{place.source}"].identity, "", where)
    yield from _labelled(artifacts, place)
    yield from _scored(artifacts, place)
    cut = artifacts.get("cut/main")
    if cut is None or not _reads(cut, place):
        return
    yield (decided := _cut(cut, place))
    if decided.fate == "dropped":
        return
    for stage, left_out_by in ELECTIONS.items():
        election = artifacts.get(f"{stage}/main")
        if election is None:
            continue
        if not _reads(election, place):
            what = f"compares no document of this source ({left_out_by})"
            yield Told(election.identity, "", what)
            continue
        yield (elected := _elected(election, place))
        if elected.fate == "dropped":
            return
    yield from _selected(artifacts, place)


def _reads(artifact: Artifact, place: Place) -> bool:
    return f"{place.source}/{place.part}" in artifact.files()


def _labelled(artifacts: Artifacts, place: Place) -> Iterator[Told]:
    from tasks.documents.lookup import rows_with

    for artifact in artifacts.values():
        if artifact.stage != "labels":
            continue
        for row in rows_with(artifact.path("labels.parquet"), "id", place.id):
            if row["source"] != place.source:
                continue
            score = "no answer has a score" if row["score"] is None else f"score {row['score']:g}"
            again = "" if row["repeated"] is None else f", asked again {row['repeated']:g}"
            yield Told(artifact.identity, "", f"{score}{again}")


def _scored(artifacts: Artifacts, place: Place) -> Iterator[Told]:
    from tasks.documents.lookup import row_of

    cut = artifacts.get("cut/main")
    for artifact in artifacts.values():
        if artifact.stage != "scores" or source_of(artifact.name) != place.source:
            continue
        name = classifier_of(artifact.name)
        details = {"scores": {name: row_of(artifact.path(place.part), place.row)["score"]}}
        if cut is not None and _reads(cut, place):
            details |= row_of(cut.path(f"{place.source}/{place.part}"), place.row)
        for one in measured("scores", details, _keeps(cut, place), lambda *_: None, {}):
            yield Told(artifact.identity, "", _in_words(one))


def _keeps(cut: Artifact | None, place: Place) -> Any:
    from tasks.documents.keeps import Keeps

    if cut is None or not _reads(cut, place):
        return Keeps()
    return Keeps.of(place.source, cut.manifest.parameters, cut.statistics)


def _in_words(one: Measured) -> str:
    value = "none" if one.value is None else one.value
    return f"{one.rule}: {value}" + (f" ({one.limit})" if one.limit else "")


def _cut(cut: Artifact, place: Place) -> Told:
    from tasks.documents.lookup import row_of

    row = row_of(cut.path(f"{place.source}/{place.part}"), place.row)
    if row["reason"] is not None:
        return Told(cut.identity, "dropped", row["reason"])
    times = row.get("repeats", 1)
    often = f"; read {times} times an epoch" if times > 1 else ""
    return Told(cut.identity, "kept", f"category {row['category']}, {row['language']}{often}")


def _elected(election: Artifact, place: Place) -> Told:
    from tasks.documents.lookup import row_of, rows_with

    row = row_of(election.path(f"{place.source}/{place.part}"), place.row)
    if row["kind"] is not None:
        measure = "similarity" if election.stage == "dedup" else "cosine"
        what = f"{row['kind']}: {measure} {row['similarity']:.3f} to {row['duplicate_of']}"
        return Told(election.identity, "dropped", what)
    others = [
        cluster["size"] - 1
        for cluster in rows_with(election.path("clusters.parquet"), "representative", place.id)
        if cluster["source"] == place.source
    ]
    what = (
        f"stands for {others[0]:,} that were dropped" if others else "no other was dropped for it"
    )
    return Told(election.identity, "kept", what)


def _selected(artifacts: Artifacts, place: Place) -> Iterator[Told]:
    from tasks.documents.lookup import line_of

    select = artifacts.get(f"select/{place.source}")
    if select is None:
        return
    found = line_of(select, place.part, place.id)
    if found is None:
        yield Told(select.identity, "dropped", "nothing of its text is left, or no category")
        return
    folder, line = found
    held = folder.startswith("heldout/")
    use = "held out: evaluation alone reads it" if held else f"line of {folder}"
    times = line.get("repeats", 1)
    often = f", read {times} times an epoch" if times > 1 else ""
    size = len(line["target"]) + len(line["source"] or "")
    yield Told(select.identity, "kept", f"{use}{often}; {size:,} characters")
