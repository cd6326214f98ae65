"""A curve that grows while a stage works, drawn as a small SVG."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 560, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 32, 36
"""Margins in pixels, with room for the axes' labels."""

MOST_POINTS = 400


class Series:
    """Points of a curve. Neighbours are averaged two by two once there are `MOST_POINTS`, so that a
    phase of a million steps is drawn from as many points as one of a thousand.
    """

    def __init__(self) -> None:
        self.points: list[tuple[float, float]] = []
        self._per_point = 1
        self._pending: list[tuple[float, float]] = []

    def add(self, x: float, y: float) -> None:
        """Add a point; values that are not finite are left out."""
        if not math.isfinite(y):
            return
        self._pending.append((x, y))
        if len(self._pending) == self._per_point:
            self.points.append(_mean(self._pending))
            self._pending = []
        if len(self.points) == MOST_POINTS:
            pairs = zip(self.points[::2], self.points[1::2], strict=True)
            self.points = [_mean(pair) for pair in pairs]
            self._per_point *= 2


def _mean(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return (
        sum(x for x, _ in points) / len(points),
        sum(y for _, y in points) / len(points),
    )


def svg(points: Sequence[tuple[float, float]], total: float, title: str, unit: str) -> str:
    """A curve over 0 to `total` of `unit`, on a light ground so that it reads in dark mode too."""
    ys = [y for _, y in points]
    low, high = min(ys), max(ys)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    total = max(total, points[-1][0])

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (WIDTH - LEFT - RIGHT) * x / total,
            TOP + (HEIGHT - TOP - BOTTOM) * (high - y) / (high - low),
        )

    lines, labels = [], []
    for value in (low + (high - low) * share for share in (0, 0.25, 0.5, 0.75, 1)):
        _, y = place(0, value)
        lines.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        labels.append(f'<text x="{LEFT - 8}" y="{y + 5:.1f}" text-anchor="end">{value:.3g}</text>')
    for value in (0.0, total / 2, total):
        x, _ = place(value, low)
        anchor = "end" if value == total else "middle"
        labels.append(
            f'<text x="{x:.1f}" y="{HEIGHT - 12}" text-anchor="{anchor}">'
            f"{short_count(value)}{f' {unit}' if value == total else ''}</text>"
        )
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
    end_x, end_y = place(*points[-1])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="15" fill="#444">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>{"".join(lines)}{"".join(labels)}'
        f'<text x="{LEFT}" y="18" font-weight="bold">{escape(title)}</text>'
        f'<polyline points="{path}" fill="none" stroke="#1f5fbf" stroke-width="1.6"/>'
        f'<circle cx="{end_x:.1f}" cy="{end_y:.1f}" r="3" fill="#1f5fbf"/></svg>'
    )


def short_count(value: float) -> str:
    """`0`, `750`, `1.5K`, `300K`, `2M`, `1.2B`."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.0f}"


def data_url(image: str) -> str:
    """An SVG as a URL that holds it."""
    return f"data:image/svg+xml;base64,{base64.b64encode(image.encode()).decode()}"
