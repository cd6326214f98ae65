"""How remote objects are read: connections, patience, cache. Never part of a version."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any


def default_cache() -> Path:
    """The folder of cached objects: below XDG_CACHE_HOME or ~/.cache; safe to delete."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "puna" / "objects"


@dataclass(frozen=True)
class Access:
    """Limits that hold for all processes of this machine that share `cache`.

    `connections` to one host at a time and at most one retry every `retry_interval_s` are what
    Common Crawl asks for. `cache_bytes` bounds what is kept; what is in use at once may exceed it.
    A request that gets nowhere for `retry_limit_s` gives up. `endpoint` stands in for Amazon's
    where an S3 is meant that is not Amazon's ("" for AWS_ENDPOINT_URL or Amazon).
    """

    connections: int = 10
    cache: Path = field(default_factory=default_cache)
    cache_bytes: int = 20 * 10**9
    retry_limit_s: float = 600.0
    retry_interval_s: float = 1.0
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0
    endpoint: str = ""

    def __reduce__(self) -> Any:
        # the default folder is that of whoever asks: another machine has its own
        values = {known.name: getattr(self, known.name) for known in fields(self)}
        if self.cache == default_cache():
            del values["cache"]
        return functools.partial(Access, **values), ()

    def impatient(self) -> Access:
        """For planning, where a person waits: what does not answer soon is unreachable."""
        return replace(
            self,
            retry_limit_s=min(self.retry_limit_s, 10.0),
            connect_timeout_s=min(self.connect_timeout_s, 5.0),
            read_timeout_s=min(self.read_timeout_s, 15.0),
        )
