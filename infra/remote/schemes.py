"""The schemes of remote references, each a module with the same three functions."""

from __future__ import annotations

import importlib
from typing import Protocol, cast

from infra.remote.access import Access
from infra.remote.locations import MODULES, check, scheme_of
from infra.remote.request import Target
from infra.stage import Pin


class Scheme(Protocol):
    """What the module of a scheme has (`infra.remote.locations.MODULES`)."""

    def stat(self, url: str, access: Access) -> Pin:
        """The pin of one object, without reading it."""
        ...

    def expand(self, reference: str, access: Access) -> list[Pin]:
        """Every object that a URL, pattern or folder names, in an order that does not change."""
        ...

    def target(self, pin: Pin, access: Access) -> Target:
        """Where to GET a pinned object."""
        ...


def scheme(reference: str) -> Scheme:
    """The module that knows a reference's scheme. Raises `StageError` for what must not be
    named.
    """
    check(reference)
    return cast(Scheme, importlib.import_module(MODULES[scheme_of(reference)]))
