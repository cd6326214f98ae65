"""The answer of `puna plan --scale` as a table and in words."""

from __future__ import annotations

from flows.planning.reading import in_bytes
from flows.planning.scale.answer import Answer
from infra.quantities import duration

COLUMNS = (
    "stage",
    "documents",
    "core-hours",
    "hours",
    "workers",
    "memory each",
    "one process",
    "reads",
    "writes",
    "requests",
    "money",
)


def rows(found: Answer) -> list[tuple[str, ...]]:
    """The table: a row a stage, and their sum. Money is "" where the cluster has no price."""
    paid = bool(found.cluster.price_hour or found.money)
    table: list[tuple[str, ...]] = []
    for stage in found.stages:
        one = ""
        if stage.one_process_hours > 0.005 or stage.one_process_bytes > 1e9:
            one = duration(stage.one_process_hours * 3600)
            if stage.one_process_bytes:
                one += f", {in_bytes(stage.one_process_bytes)}"
        table.append(
            (
                stage.name,
                f"{stage.documents:,.0f}",
                amount(stage.core_hours),
                amount(stage.hours),
                f"{stage.workers:,}",
                in_bytes(stage.worker_bytes),
                one,
                in_bytes(stage.reads),
                in_bytes(stage.writes),
                f"{stage.requests + stage.store_requests:,.0f}",
                f"{stage.money:,.0f}" if paid else "",
            )
        )
    table.append(
        (
            "all",
            "",
            amount(found.core_hours),
            amount(found.hours),
            "",
            "",
            "",
            in_bytes(sum(stage.reads for stage in found.stages)),
            in_bytes(found.stored),
            f"{sum(s.requests + s.store_requests for s in found.stages):,.0f}",
            f"{found.money:,.0f}" if paid else "",
        )
    )
    return table


def amount(hours: float) -> str:
    """Hours with as many digits as they deserve."""
    if hours >= 10:
        return f"{hours:,.0f}"
    return f"{hours:.1f}" if hours >= 1 else f"{hours:.2g}"


def lines(found: Answer) -> list[str]:
    """The answer in words, around the table."""
    kept = next((s.kept for s in found.stages if s.name == "select"), None)
    left = f", {kept:,.0f} documents selected" if kept is not None else ""
    money = ""
    if found.cluster.price_hour:
        unit = found.cluster.currency
        month = f", {found.store_month:,.0f} a month to keep it all" if found.store_month else ""
        money = f", {found.money:,.0f} {unit}{month}"
    said = [
        f"≈ {duration(found.hours * 3600)} on the cluster, {amount(found.core_hours)} core-hours, "
        f"{in_bytes(found.stored)} written{money}{left}"
    ]
    for number, one in zip(("first", "second"), found.bottlenecks, strict=False):
        of = "" if number == "first" else ", were the first to cost nothing"
        said.append(
            f"{number} bottleneck: {one.what} in {one.stage}, {duration(one.seconds)} of "
            f"{duration(one.of)}{of}. What to change: {one.change}"
        )
    said += [f"needs attention: {line}" for line in found.unfit]
    said += found.notes
    if found.skipped:
        said.append(f"not predicted here: {', '.join(found.skipped)}")
    said.append(
        "predictions multiply what was measured on one core; expect a factor of two "
        "(docs/scaling.md)"
    )
    return said
