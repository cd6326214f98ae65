"""A recipe's data set -> pinned files when it is planned, and how to read them when it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from infra.remote.access import Access
from infra.remote.hub_names import parse
from infra.stage import Pin
from tasks.ingest.hub.check import check_fields
from tasks.ingest.hub.commit_files import README
from tasks.ingest.hub.configuration import Wanted
from tasks.ingest.hub.layout import Layout, layout_of
from tasks.ingest.stage import IngestParameters

if TYPE_CHECKING:
    from tasks.ingest.parts import Reader

_READERS: dict[str, Reader] = {"parquet": "parquet", "json": "jsonl", "text": "text"}


def pin_dataset(parameters: IngestParameters, access: Access) -> tuple[Pin, ...]:
    """The files of the split at this moment's commit; README too, where it says how to read them.

    Raises as `layout_of` does, and `StageError` for fields that the data set does not have.
    """
    layout = layout_of(_wanted(parameters, parameters.revision))
    check_fields(layout, parameters.fields, access)
    return (*layout.files, layout.card) if layout.card else layout.files


def reading(
    parameters: IngestParameters, pins: Sequence[Pin]
) -> tuple[tuple[Pin, ...], Reader, Mapping[str, Any]]:
    """(the files that hold rows, how they are read, what else `tasks.ingest.readers` needs)."""
    layout = _planned(parameters, pins)
    files = tuple(pin for pin in pins if pin.name != README)
    options = {"module": layout.module, "options": dict(layout.options)}
    reader = _READERS.get(layout.module, "rows")
    if layout.module == "json" and layout.options:
        reader = "rows"  # the rows are a field of one JSON document, say
    return files, reader, options


def _planned(parameters: IngestParameters, pins: Sequence[Pin]) -> Layout:
    """The layout at the pins' commit, which is remembered since the plan was made."""
    repository, _ = parse(pins[0].path)
    return layout_of(_wanted(parameters, repository.revision))


def _wanted(parameters: IngestParameters, revision: str) -> Wanted:
    return Wanted(
        parameters.dataset,
        parameters.name,
        parameters.split or "",
        revision,
        parameters.data_files,
    )
