"""How much a source holds, by its artifact, its pins, its host, or a crawl's statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from flows.planning.plan import Plan, Step
from flows.planning.scale.costs import Costs
from flows.recipe.file import RecipeError
from flows.recipe.sections import Recipe
from infra.stage import Pin
from infra.store import Artifact
from tasks.ingest.commoncrawl.languages import three_letters
from tasks.ingest.stage import STAGE as INGEST
from tasks.ingest.stage import IngestParameters

PART_BYTES, PARTS = (4 << 20, 64 << 20), 32
"""How ingest divides files (a test compares with it)."""


@dataclass(frozen=True)
class Size:
    """A source: records to read, the documents that come of them, their text, and what is read from
    other machines (`source_bytes`, `requests` at `connections` a time; `s3`: from Amazon's own).

    `parts`: files of its artifact. `kind`: of the unit costs of ingest. `how`: what this is known
    from, in words.
    """

    kind: str
    records: float
    documents: float
    text_bytes: float
    file_bytes: float
    parts: int
    how: str
    source_bytes: float = 0.0
    requests: float = 0.0
    s3: bool = False

    def limited(self, most: float) -> Size:
        """Reading stops after so many documents."""
        share = min(most / self.documents, 1.0) if self.documents else 1.0
        if share == 1:
            return self
        return replace(
            self,
            records=self.records * share,
            documents=self.documents * share,
            text_bytes=self.text_bytes * share,
            file_bytes=self.file_bytes * share,
            parts=max(1, round(self.parts * share)),
            how=f"{self.how}; limit",
            source_bytes=self.source_bytes * share,
            requests=self.requests * share,
        )


def sizes(
    recipe: Recipe, plan: Plan, readings: Mapping[str, Mapping[str, Any]], costs: Costs
) -> dict[str, Size]:
    """Source -> size, of every source of the plan. `readings`: what hosts of crawls said.

    Raises `RecipeError` with a sentence for every source whose size cannot be known.
    """
    found: dict[str, Size] = {}
    problems = []
    for step in plan.steps.values():
        if step.node.stage.name != INGEST.name:
            continue
        name = step.node.name
        parameters = recipe.sources[name].ingest
        try:
            size = _size(name, parameters, step, readings.get(name), costs)
        except _Unknown as why:
            problems.append(f"{recipe.place_of(f'sources.{name}.ingest')}source {name}: {why}")
            continue
        found[name] = size.limited(parameters.limit) if parameters.limit else size
    if problems:
        raise RecipeError(problems)
    return found


class _Unknown(ValueError):
    """Why a size cannot be known, and what to do."""


def _size(
    name: str,
    parameters: IngestParameters,
    step: Step,
    reading: Mapping[str, Any] | None,
    costs: Costs,
) -> Size:
    if step.artifact is not None:
        return _made(parameters, step, costs)
    if parameters.format == "commoncrawl":
        return crawled(parameters, step.why, reading, costs)
    if step.state == "unresolved":
        raise _Unknown(
            f"its files are not known ({step.why}), so its size is not either; plan it where they "
            "can be read, or take local files"
        )
    return _filed(name, parameters, step, costs)


def _made(parameters: IngestParameters, step: Step, costs: Costs) -> Size:
    """By the artifact in the store."""
    assert step.artifact is not None
    manifest = step.artifact.manifest
    pins = [pin for given in manifest.pins.values() for pin in given]
    read = sum(max(pin.bytes, 0) for pin in pins)
    remote = [pin for pin in pins if _is_remote(pin)]
    if parameters.format == "commoncrawl":  # whose pins state no sizes
        return _made_of_crawl(parameters, step.artifact, costs)
    return Size(
        _kind(parameters),
        manifest.ledger.documents("read"),
        manifest.ledger.documents("kept"),
        manifest.ledger.bytes("kept"),
        read,
        sum(output.path.startswith("part-") for output in manifest.outputs),
        f"its artifact {step.artifact.identity}",
        source_bytes=sum(max(pin.bytes, 0) for pin in remote),
        requests=len(remote),
        s3=any(pin.path.startswith("s3://") for pin in remote),
    )


def _made_of_crawl(parameters: IngestParameters, artifact: Artifact, costs: Costs) -> Size:
    """Documents by the artifact, what was fetched by the statistics of a crawl: nothing, where only
    the index knew.
    """
    ledger = artifact.manifest.ledger
    try:
        fetched = crawled(parameters, "", None, costs)
    except _Unknown:
        fetched = Size(parameters.kind, 0, 0, 0, 0, 1, "")
    return replace(
        fetched,
        records=ledger.documents("read"),
        documents=ledger.documents("kept"),
        text_bytes=ledger.bytes("kept"),
        parts=sum(output.path.startswith("part-") for output in artifact.manifest.outputs),
        how=f"its artifact {artifact.identity}",
    )


def crawled(
    parameters: IngestParameters, why: str, reading: Mapping[str, Any] | None, costs: Costs
) -> Size:
    """Of crawls: by what their host said (`reading`), else by the statistics of a crawl.

    `why`: why the host said nothing. Raises `_Unknown` for a selection that only the index can
    count.
    """
    crawl, kind = costs.crawl, parameters.kind
    listed = crawl.files * len(parameters.crawl)
    files = parameters.files * len(parameters.crawl) if parameters.files else listed
    files = max(1, round(min(files, listed) * parameters.sample))
    how = "a crawl's statistics"
    if reading is not None:
        files, how = int(reading["archives"]), "what its host says"
    pages = files * crawl.pages / crawl.files
    per_file = crawl.warc_file_bytes
    if kind == "wet":
        per_file = crawl.wet_page_bytes * crawl.pages / crawl.files
    bytes = reading["archive_bytes"] if reading is not None else files * per_file
    requests: float = files
    parts = files
    if (select := parameters.select) is not None:
        if reading is not None:
            share = min(reading["records"] / pages, 1.0)
            pages, bytes, requests = reading["records"], reading["bytes"], reading["requests"]
        else:
            if select.domains or select.tlds:
                raise _Unknown(
                    "how many records select wants is in the index, which did not answer "
                    f"({why}); plan it where it does, or select languages only"
                )
            share = language_share(select.languages, costs) if select.languages else 1.0
            pages *= share
            index = crawl.index_bytes * len(parameters.crawl)
            requests = pages + crawl.index_parts * len(parameters.crawl)
            bytes = bytes * share + index * 0.2  # columns that decide, and places where they match
            how += f", {share:.0%} of its pages selected"
        size = min(max(bytes / PARTS, PART_BYTES[0]), PART_BYTES[1])
        parts = max(files if pages >= files else 1, round(bytes / size))
    text = costs.text[kind].text_bytes
    cost = costs.stage(INGEST.name, kind)
    documents = pages * (cost.kept if cost is not None else 1.0)
    return Size(
        kind,
        pages,
        documents,
        documents * text,
        bytes,
        parts,
        how,
        source_bytes=bytes,
        requests=requests,
        s3=parameters.host.startswith("s3://"),
    )


def _filed(name: str, parameters: IngestParameters, step: Step, costs: Costs) -> Size:
    """By the bytes of pinned files."""
    pins = [pin for given in step.pins.values() for pin in given]
    unknown = [pin.name for pin in pins if pin.bytes < 0]
    if unknown:
        more = f" and {len(unknown) - 1:,} more" if len(unknown) > 1 else ""
        raise _Unknown(
            f"the server of {unknown[0]}{more} does not state a size; copy the files here to know"
        )
    kind = _kind(parameters)
    read = sum(pin.bytes for pin in pins)
    text = costs.text["files" if kind == "warc" else kind]
    packed = 1.0 if kind in ("warc", "parquet", "hf") else _packing(pins)
    documents = read * packed / (text.file_bytes or text.text_bytes) * parameters.sample
    cost = costs.stage(INGEST.name, kind)
    records = documents / parameters.sample
    documents *= cost.kept if cost is not None else 1.0
    size = min(max(read / PARTS, PART_BYTES[0]), PART_BYTES[1])
    remote = [pin for pin in pins if _is_remote(pin)]
    return Size(
        kind,
        records,
        documents,
        documents * text.text_bytes,
        read,
        max(1, round(read / size)),
        f"its {len(pins):,} file{'' if len(pins) == 1 else 's'}, documents of "
        f"{text.text_bytes / 1e3:.1f} kB assumed",
        source_bytes=sum(pin.bytes for pin in remote),
        requests=len(remote),
        s3=any(pin.path.startswith("s3://") for pin in remote),
    )


def language_share(languages: tuple[str, ...], costs: Costs) -> float:
    """Share of a crawl's pages in some languages (ISO 639-1 or 639-3 codes)."""
    known = {three_letters(code): share for code, share in costs.crawl.languages.items()}
    wanted = {three_letters(code) for code in languages}
    return min(sum(known.get(code, costs.crawl.other_language) for code in wanted), 1.0)


def _kind(parameters: IngestParameters) -> str:
    return parameters.kind if parameters.format == "commoncrawl" else parameters.format


def _packing(pins: list[Pin]) -> float:
    """How much larger text becomes when its files are unpacked."""
    packed = sum(pin.bytes for pin in pins if pin.name.endswith((".gz", ".zst", ".xz", ".bz2")))
    total = sum(pin.bytes for pin in pins)
    return 1.0 if not total else 1 + 2 * packed / total


def _is_remote(pin: Pin) -> bool:
    return "://" in pin.path
