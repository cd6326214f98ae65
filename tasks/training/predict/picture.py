"""A picture of the plan: learning rate, batch and mixture over tokens, as SVG written by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from tasks.training.phases.facts import PhaseFacts
from tasks.training.planning.plan import TrainingPlan

WIDTH, LEFT, RIGHT, TOP = 860, 70, 150, 44
PANEL, GAP, BOTTOM = 130, 34, 44
POINTS = 160
"""Points of a curve in each phase."""

COLOURS = ("#4269d0", "#efb118", "#3ca951", "#ff725c", "#6cc5b0", "#a463f2", "#9c6b4e", "#97bbf5")
BUCKETS = "buckets"


@dataclass(frozen=True)
class Drawn:
    """A phase whose plan is known, and the share of each category where buckets decide."""

    name: str
    plan: TrainingPlan
    shares: dict[str, float]


def drawn(phases: Sequence[PhaseFacts]) -> list[Drawn]:
    """Phases up to the first whose plan is not known."""
    found = []
    for facts in phases:
        if facts.plan is None:
            break
        rows = sum(facts.drawn.values())
        shares = {name: count / rows for name, count in facts.drawn.items()} if rows else {}
        found.append(Drawn(facts.name, facts.plan, shares))
    return found


def _mixture(phase: Drawn, t: int) -> dict[str, float]:
    mixture = phase.plan.at(t).mixture
    if mixture == "buckets":
        return phase.shares or {BUCKETS: 1.0}
    return mixture


def plan_svg(title: str, phases: Sequence[Drawn]) -> str:
    """The picture of all phases (at least one)."""
    last = phases[-1].plan
    total = last.start + last.tokens
    height = TOP + 3 * PANEL + 2 * GAP + BOTTOM
    categories = list(
        dict.fromkeys(
            name
            for phase in phases
            for t in (phase.plan.start, phase.plan.start + phase.plan.tokens)
            for name in _mixture(phase, t)
        )
    )
    panels = [TOP + number * (PANEL + GAP) for number in range(3)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        _text(LEFT, 18, f"{title}: the plan of training", 'font-size="14" font-weight="bold"'),
        *_phases(phases, total, panels[-1] + PANEL),
        *_curve(phases, total, panels[0], "learning rate", lambda p, t: p.plan.at(t).lr),
        *_curve(phases, total, panels[1], "batch, tokens", lambda p, t: p.plan.at(t).batch_tokens),
        *_areas(phases, total, panels[2], categories),
        *_axis(total, panels[-1] + PANEL),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _x(t: float, total: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * t / total


def _samples(plan: TrainingPlan) -> list[int]:
    """Tokens of the run at which a phase is drawn; its knots are among them."""
    end = plan.start + plan.tokens
    even = {plan.start + plan.tokens * i // POINTS for i in range(POINTS + 1)}
    knots = {plan.start + token for token, _ in plan.batch.knots}
    if plan.mixture != "buckets":
        knots |= {plan.start + t for ramp in plan.mixture.values() for t, _ in ramp.knots}
    knots.add(plan.schedule_origin + plan.schedule.warmup)
    return sorted(even | {t for t in knots if plan.start <= t <= end})


def _phases(phases: Sequence[Drawn], total: int, bottom: float) -> Iterator[str]:
    """A line where each phase begins, and its name where there is room."""
    for phase in phases:
        left, right = (
            _x(t, total) for t in (phase.plan.start, phase.plan.start + phase.plan.tokens)
        )
        yield (
            f'<line x1="{left:.1f}" y1="{TOP - 12}" x2="{left:.1f}" y2="{bottom}" '
            'stroke="#bbb" stroke-dasharray="3 3"/>'
        )
        room = int((right - left) / 6.5)
        name = phase.name if len(phase.name) <= room else phase.name[: max(0, room - 1)] + "…"
        if room >= 3:
            yield _text(left + 3, TOP - 4, name, 'fill="#555"')


def _curve(
    phases: Sequence[Drawn],
    total: int,
    top: float,
    label: str,
    value: Callable[[Drawn, int], float],
) -> Iterator[str]:
    samples = [(t, value(phase, t)) for phase in phases for t in _samples(phase.plan)]
    largest = max(v for _, v in samples) or 1.0
    yield from _frame(top, label, _number(largest))
    points = " ".join(
        f"{_x(t, total):.1f},{top + PANEL * (1 - v / largest):.1f}" for t, v in samples
    )
    yield f'<polyline points="{points}" fill="none" stroke="{COLOURS[0]}" stroke-width="1.8"/>'


def _areas(
    phases: Sequence[Drawn], total: int, top: float, categories: Sequence[str]
) -> Iterator[str]:
    """Shares stacked upon each other, in each phase apart, with a key on the right."""
    for phase in phases:
        samples = _samples(phase.plan)
        below = [0.0] * len(samples)
        shares = [_mixture(phase, t) for t in samples]
        for number, category in enumerate(categories):
            above = [b + s.get(category, 0.0) for b, s in zip(below, shares, strict=True)]
            if above == below:
                continue
            edge = [*zip(samples, above, strict=True)]
            edge += reversed([*zip(samples, below, strict=True)])
            points = " ".join(
                f"{_x(t, total):.1f},{top + PANEL * (1 - min(1.0, v)):.1f}" for t, v in edge
            )
            colour = COLOURS[number % len(COLOURS)]
            yield f'<polygon points="{points}" fill="{colour}" fill-opacity="0.85"/>'
            below = above
    yield from _frame(top, "mixture", "1")
    for number, category in enumerate(categories[: PANEL // 16]):
        y = top + 12 + 16 * number
        colour = COLOURS[number % len(COLOURS)]
        yield f'<rect x="{WIDTH - RIGHT + 12}" y="{y - 9}" width="10" height="10" fill="{colour}"/>'
        name = category if len(category) <= 17 else category[:16] + "…"
        yield _text(WIDTH - RIGHT + 27, y, name)


def _frame(top: float, label: str, largest: str) -> Iterator[str]:
    right = WIDTH - RIGHT
    yield (
        f'<rect x="{LEFT}" y="{top}" width="{right - LEFT}" height="{PANEL}" fill="none" '
        'stroke="#888"/>'
    )
    yield _text(LEFT + 4, top + PANEL + 14, label, 'fill="#333" font-weight="bold"')
    yield _text(LEFT - 6, top + 10, largest, 'text-anchor="end" fill="#333"')
    yield _text(LEFT - 6, top + PANEL, "0", 'text-anchor="end" fill="#333"')


def _axis(total: int, bottom: float) -> Iterator[str]:
    for fifth in range(6):
        t = total * fifth / 5
        x = _x(t, total)
        yield f'<line x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 5}" stroke="#888"/>'
        yield _text(x, bottom + 32, _number(t), 'text-anchor="middle" fill="#333"')
    yield _text(WIDTH - RIGHT + 30, bottom + 32, "tokens", 'fill="#333"')


def _text(x: float, y: float, text: str, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def _number(value: float) -> str:
    for suffix, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"
