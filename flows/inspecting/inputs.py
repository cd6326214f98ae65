"""Finds the artifacts that `puna inspect` reads: the stage's own, its documents, and the cut that
applied keeps to them, with everything that the cut read of the same source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from flows.recipe.errors import nearest
from infra.stage import StageError
from infra.store import Artifact, ArtifactMissing, Damaged, Store
from infra.store.manifest import InputReference, Manifest
from tasks.documents.scoring import classifier_of, source_of

if TYPE_CHECKING:
    from tasks.documents.viewing import SourceView

OF_ALL_SOURCES = ("cut",)
"""Stages with one artifact for all sources."""


class Found:
    """The artifacts behind a request.

    `artifacts`: those of the stage, one per source or one for all. `views`: their sources. `cut`:
    the cut whose keeps are shown, None if no cut has read the sources.
    """

    def __init__(
        self, artifacts: Sequence[Artifact], views: Sequence[SourceView], cut: Artifact | None
    ) -> None:
        self.artifacts, self.views, self.cut = artifacts, views, cut


def find(store: Store, reference: str, source: str | None) -> Found:
    """What to read for `--stage REFERENCE --source SOURCE`. Raises StageError."""
    stage = reference.partition("@")[0].partition("/")[0]
    if stage in OF_ALL_SOURCES:
        return _of_cut(store, store.open(reference), source)
    artifacts = _artifacts(store, reference, source)
    cut = _cut_of(store, artifacts[0])
    return Found(artifacts, [_view(store, artifact, cut) for artifact in artifacts], cut)


def _artifacts(store: Store, reference: str, source: str | None) -> list[Artifact]:
    """The artifacts of an annotator, or of ingest: the one named, else those of all sources."""
    path, at, selector = reference.partition("@")
    stage, _, name = path.partition("/")
    if name and source and source != name:
        raise StageError(f"--stage names {name}, but --source {source}; leave one of them out")
    name = name or source or ""
    known = store.root.child(stage).folders()
    if stage == "scores" and name and name not in known:
        if scored := [one for one in known if source_of(one) == name]:
            return [store.open(f"{stage}/{one}{at}{selector}") for one in scored]
        known = list(dict.fromkeys(map(source_of, known)))
    if name and known and name not in known:
        raise StageError(
            f"{stage} has no source {name!r}{nearest(name, known)}; it has: {', '.join(known)}"
        )
    names = [name] if name or not known else known
    return [store.open(f"{stage}/{one}{at}{selector}") for one in names]


def _of_cut(store: Store, cut: Artifact, source: str | None) -> Found:
    known = [given.name for given in cut.manifest.inputs["documents"]]
    if source and source not in known:
        raise StageError(
            f"{cut.identity} has no source {source!r}{nearest(source, known)}; it has: "
            f"{', '.join(known)}"
        )
    names = [source] if source else known
    return Found([cut], [_source_view(store, cut.manifest, name, cut, {}) for name in names], cut)


def _view(store: Store, artifact: Artifact, cut: Artifact | None) -> SourceView:
    """The documents of an annotator's artifact (or of ingest), and what lies beside them."""
    own, name = {artifact.stage: artifact}, artifact.name
    if artifact.stage == "scores":
        own[f"scores.{classifier_of(name)}"] = artifact
        name = source_of(name)
    if cut is not None and _reads(cut.manifest, artifact):
        return _source_view(store, cut.manifest, name, cut, own)
    return _source_view(store, artifact.manifest, name, None, own)


def _source_view(
    store: Store, manifest: Manifest, name: str, cut: Artifact | None, own: dict[str, Artifact]
) -> SourceView:
    """A source with the inputs of that name in a manifest."""
    from tasks.documents.keeps import Keeps
    from tasks.documents.viewing import SourceView

    inputs = {
        role: given
        for role, several in manifest.inputs.items()
        for given in several
        if given.name == name
    }
    documents = own.get("ingest") or _open(store, inputs["documents"])
    roles = {
        role: found
        for role, given in inputs.items()
        if role not in ("documents", *own) and (found := _if_there(store, given)) is not None
    }
    for given in manifest.inputs.get("scores", ()):
        if source_of(given.name) == name and (found := _if_there(store, given)) is not None:
            roles.setdefault(f"scores.{classifier_of(given.name)}", found)
    keeps = Keeps()
    if cut is not None:
        roles["cut"] = cut
        keeps = Keeps.of(name, cut.manifest.parameters, cut.statistics)
    if (scores := own.get("scores")) is not None:
        keeps = replace(keeps, classifier=classifier_of(scores.name))
    stage = next(iter(own), "cut")
    return SourceView(
        name, documents, {**roles, **own}, keeps, edited=stage not in ("ingest", "line_dedup")
    )


def _cut_of(store: Store, artifact: Artifact) -> Artifact | None:
    """The last cut that read an artifact."""
    cuts = [cut for cut in _cuts(store) if _reads(cut.manifest, artifact)]
    return max(cuts, key=lambda cut: cut.manifest.finished, default=None)


def _cuts(store: Store) -> Iterator[Artifact]:
    for name in store.root.child("cut").folders():
        for version in store.root.child(f"cut/{name}").folders():
            try:
                cut = store.find("cut", name, version)
            except Damaged:
                continue  # `puna artifacts verify` names it
            if cut is not None:
                yield cut


def _reads(manifest: Manifest, artifact: Artifact) -> bool:
    return any(
        given.identity == artifact.identity
        for several in manifest.inputs.values()
        for given in several
    )


def _open(store: Store, given: InputReference) -> Artifact:
    if (found := _if_there(store, given)) is None:
        raise ArtifactMissing(
            f"{given.identity} is no longer in the store; run its recipe again to read it"
        )
    return found


def _if_there(store: Store, given: InputReference) -> Artifact | None:
    return store.find(given.stage, given.name, given.version)
