"""What a stage's `pins` function may use to find out what its references are at this moment."""

from __future__ import annotations

from dataclasses import dataclass, field

from infra.remote.access import Access


@dataclass(frozen=True)
class Listing:
    """How other machines are asked."""

    access: Access = field(default_factory=Access)
