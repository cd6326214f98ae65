"""The recipe's `remote` section: how objects on other machines are read. Never part of a
version.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import pydantic

from infra.remote.access import Access, default_cache

_ENDPOINT = re.compile(r"https?://[^\s/?#@]+(?:/[^\s?#@]*)?", re.IGNORECASE)


class RemoteConfig(pydantic.BaseModel):
    """Limits of reading from other machines, for all processes of this machine together.

    `connections`: requests to one host at a time. `retry_limit_s`: how long to try without getting
    on. `retry_interval_s`: at most one retry of a host in this time (Common Crawl asks for a
    second). `cache`: folder of local copies, of a store on S3 too, ~/.cache/puna/objects by
    default. `cache_gb`: its bound, in 10^9 bytes; what is in use at once may exceed it.
    `s3_endpoint`: address of an S3 other than Amazon's for what the recipe reads;
    AWS_ENDPOINT_URL by default. A store on S3 is at AWS_ENDPOINT_URL where that is set.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    connections: Annotated[int, pydantic.Field(ge=1, le=256)] = 10
    retry_limit_s: Annotated[float, pydantic.Field(ge=0)] = 600.0
    retry_interval_s: Annotated[float, pydantic.Field(ge=0)] = 1.0
    cache: str | None = None
    cache_gb: Annotated[float, pydantic.Field(gt=0)] = 20.0
    s3_endpoint: str | None = None

    @pydantic.field_validator("s3_endpoint")
    @classmethod
    def _is_an_address(cls, stated: str | None) -> str | None:
        if stated and not _ENDPOINT.fullmatch(stated):
            raise ValueError(
                "is no address of an S3; write http://host:port or https://host, without a login: "
                "credentials come from the environment (AWS_*)"
            )
        return stated

    def access(self) -> Access:
        """These settings as the functions of `infra.remote` take them."""
        return Access(
            connections=self.connections,
            cache=Path(self.cache).expanduser().absolute() if self.cache else default_cache(),
            cache_bytes=int(self.cache_gb * 1e9),
            retry_limit_s=self.retry_limit_s,
            retry_interval_s=self.retry_interval_s,
            endpoint=self.s3_endpoint or "",
        )
