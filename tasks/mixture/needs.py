"""How many proxies a search needs. Imports are light, as plans ask it."""

from __future__ import annotations

import math
from typing import Literal

from infra.quantities import counted

LawName = Literal["exponential", "additive", "joint", "linear"]

LAWS: tuple[LawName, ...] = ("exponential", "additive", "joint", "linear")

SPARE = 2
"""Proxies beyond the parameters of a law: with none, it would pass through all of them."""


def parameters_of(law: LawName, categories: int, sizes: int, lengths: int) -> int:
    """Parameters that a law has for one target.

    Args:
        categories: shares that move (those of an earlier mixture, kept in their ratios, are one).
        sizes: different numbers of parameters among the proxies.
        lengths: different numbers of tokens.
    """
    shares = {"exponential": categories + 1, "additive": categories + 2, "joint": categories + 2}
    own = shares.get(law, categories)
    if law == "linear":
        return own + (sizes > 1) + (lengths > 1)
    return own + min(sizes - 1, 2) + min(lengths - 1, 2 if law != "joint" else 1)


def for_interval(level: float) -> int:
    """Proxies below which a jackknife+ interval of this level is endless."""
    count = 1
    while math.ceil(level * (count + 1) - 1e-9) > count:
        count += 1
    return count


def too_few(
    law: LawName | Literal["auto"],
    proxies: int,
    *,
    categories: int,
    sizes: int,
    lengths: int,
    level: float,
) -> str:
    """Why so few proxies are not enough, and what to do; "" where they are."""
    named = LAWS if law == "auto" else (law,)
    needed = {name: parameters_of(name, categories, sizes, lengths) + SPARE for name in named}
    least = min(needed, key=needed.__getitem__)
    if proxies < needed[least]:
        return (
            f"draws add up to {counted(proxies, 'proxy', 'proxies')}, too few: the law {least!r} "
            f"has {counted(needed[least] - SPARE, 'parameter')} for {categories} categories, "
            f"{counted(sizes, 'size')} and {counted(lengths, 'length')}, and needs "
            f"{needed[least]} proxies; raise `draws`"
        )
    if proxies < (wanted := for_interval(level)):
        return (
            f"draws add up to {counted(proxies, 'proxy', 'proxies')}, too few for intervals of "
            f"level {level:g}, which need {wanted}; raise `draws`, or lower `level`"
        )
    return ""


def usable(proxies: int, categories: int, sizes: int, lengths: int) -> list[LawName]:
    """The laws that so many proxies can be fitted with."""
    return [
        law for law in LAWS if parameters_of(law, categories, sizes, lengths) + SPARE <= proxies
    ]
