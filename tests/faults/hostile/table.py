"""Where cases are gathered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from tests.faults.hostile.case import Case, Make

CASES: list[Case] = []


def case(
    name: str, end: Literal["refused", "done"], says: str, within: str = ""
) -> Callable[[Make], Make]:
    """Enter the function below as the case's `make`."""

    def enter(make: Make) -> Make:
        CASES.append(Case(name, make, end, says, within))
        return make

    return enter
