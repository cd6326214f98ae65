"""What a stage's `pins` function may use to find out what its references are at this moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from infra.remote.access import Access

if TYPE_CHECKING:
    from infra.store.manifest import Manifest


@dataclass(frozen=True)
class Listing:
    """How other machines are asked, and what was read before.

    `earlier`: the manifests of this node's latest artifact and of those that its recipe names as
    history; none where there is no store.
    """

    access: Access = field(default_factory=Access)
    earlier: Callable[[], Sequence[Manifest]] = tuple
