"""What sources name that is no file: pinned when a recipe is planned."""

from __future__ import annotations

from infra.remote.listing import Listing
from infra.stage import Pin, StageError
from tasks.ingest.stage import IngestParameters


def pins(parameters: IngestParameters, listing: Listing) -> dict[str, tuple[Pin, ...] | StageError]:
    """Parameter -> the files of what it names, or why there are none (`Unreachable`, or an error
    of the recipe).
    """
    if parameters.format == "commoncrawl":
        from tasks.ingest.commoncrawl.pinning import pin_crawls

        try:
            return {**pin_crawls(parameters, listing)}
        except StageError as error:
            return {"crawl": error}
    if parameters.format != "hf":
        return {}
    from tasks.ingest.hub.pinning import pin_dataset  # imports pandas, by way of `datasets`

    try:
        return {"dataset": pin_dataset(parameters, listing.access)}
    except StageError as error:
        return {"dataset": error}
