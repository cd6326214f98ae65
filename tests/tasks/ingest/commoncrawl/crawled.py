"""Builds stage ingest on a Common Crawl of the loopback interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from infra.remote.access import Access
from infra.remote.listing import Listing
from infra.store import Artifact
from tasks.ingest.commoncrawl.pinning import pin_crawls
from tasks.ingest.stage import STAGE, IngestParameters
from tests.loopback.commoncrawl import CRAWL
from tests.loopback.http import FileServer
from tests.stage_harness import run_stage


def parameters(server: FileServer, **stated: Any) -> IngestParameters:
    """Of the crawl on a server."""
    host = server.url("/")
    given = {"format": "commoncrawl", "crawl": CRAWL, "host": host, "index_host": host}
    return IngestParameters.model_validate(given | stated)


def ingested(given: IngestParameters, access: Access, where: Path, **more: Any) -> Artifact:
    """What the stage makes of parameters that are pinned now."""
    pins = more.pop("pins", None) or pin_crawls(given, Listing(access))
    return run_stage(STAGE, given, name="web", tmp_path=where, pins=pins, access=access, **more)


def rows(artifact: Artifact) -> list[dict[str, Any]]:
    """Its documents."""
    return [
        row
        for name in artifact.files("part-")
        for row in pq.read_table(artifact.path(name)).to_pylist()
    ]


def texts(artifact: Artifact) -> dict[str, tuple[str, str]]:
    """Id -> address and text."""
    return {row["id"]: (row["url"], row["text"]) for row in rows(artifact)}
