"""Published figures of the systems that recipes express (`published.yaml`), beside their plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.quantities import count, parse_count
from tasks.checkpoints.shapes import SHAPES, ModelShape
from tasks.training.predict.flops import MatmulShape, training_flops
from tasks.training.predict.prediction import Prediction
from tasks.training.recipe.hardware import ACCELERATORS

FILE = Path(__file__).with_name("published.yaml")


@dataclass(frozen=True)
class Planned:
    """A recipe's plan at true size: totals over its phases."""

    tokens: int
    steps: int
    prediction: Prediction

    def figure(self, name: str) -> float | None:
        """A figure by its name in `published.yaml`; None for one that no plan has."""
        cost, hardware = self.prediction.cost, self.prediction.hardware
        if name == "loss" or cost is None or hardware is None:
            return None
        return {
            "tokens": self.tokens,
            "steps": self.steps,
            "hours": cost.accelerator_hours,
            "wall": cost.seconds / 3600,
            "days": cost.accelerator_hours / hardware.count / 24,
            "kwh": cost.kwh,
            "t_co2": cost.kg_co2 / 1000,
            "dollars": cost.dollars,
        }[name]


def published() -> dict[str, dict[str, Any]]:
    """Recipe -> its published figures."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found


def planned_figure(stated: Mapping[str, Any], plan: Planned) -> float | None:
    """What the plan has for a figure, scaled as the figure asks."""
    found = plan.figure(stated["plan"])
    if found is None:
        return None
    if "per_tokens" in stated:
        found *= parse_count(stated["per_tokens"]) / plan.tokens
    hardware = plan.prediction.hardware
    if "count" in stated and hardware is not None:
        found *= hardware.count / stated["count"]
    return found / stated.get("unit", 1)


def figure_rows(stated: Mapping[str, Any], plan: Planned) -> list[list[str]]:
    """what, published, planned, difference, why."""
    rows = []
    for figure in stated["figures"]:
        given, own = figure.get("published"), planned_figure(figure, plan)
        number = _number(given)
        difference = ""
        if number is not None and own is not None:
            difference = f"{100 * (own / number - 1):+.0f} %".replace("+0 %", "0 %")
            difference = difference.replace("-0 %", "0 %")
        source = f" [{figure['source']}]" if "source" in figure else ""
        why = figure.get("why", "")
        if "{mfu}" in why and number is not None:
            why = why.replace("{mfu}", f"{100 * _implied(plan, figure, number):.0f} %")
        shown = "not published" if given is None else f"{_words(given)}{source}"
        rows.append([figure["what"], shown, "" if own is None else _words(own), difference, why])
    return rows


def _implied(plan: Planned, figure: Mapping[str, Any], hours: float) -> float:
    """The MFU that published hours are, by the plan's count of operations."""
    own, hardware = planned_figure(figure, plan), plan.prediction.hardware
    if own is None or hardware is None:
        raise ValueError(f"{figure['what']}: no hours in the plan")
    return hardware.mfu * own / hours


def other_rows(
    stated: Mapping[str, Any], accelerator: str, sequence_length: int
) -> list[list[str]]:
    """Other models of the same source: what, tokens, hours, the MFU that these are."""
    peak = ACCELERATORS[accelerator].peak_tflops * 1e12
    rows = []
    for other in stated["others"]:
        tokens = parse_count(other["tokens"])
        stated = other["shape"]
        shape = SHAPES[stated] if isinstance(stated, str) else ModelShape.model_validate(stated)
        flops = flops_of(shape, tokens, sequence_length)
        mfu = flops / (other["published"] * 3600 * peak)
        hours = f"{_words(other['published'])} [{other['source']}]"
        rows.append([other["what"], count(tokens), hours, f"{100 * mfu:.0f} %"])
    return rows


def flops_of(shape: ModelShape, tokens: int, sequence_length: int) -> int:
    """Operations of a training in which everything trains, as the plan counts them."""
    matmuls = shape.matmul_parameters
    pairs = tokens // sequence_length * (sequence_length * (sequence_length + 1) // 2)
    counted = MatmulShape(matmuls, shape.num_hidden_layers, shape.attention_width)
    return training_flops(counted, tokens, pairs)


def _number(given: object) -> float | None:
    """A published figure as a number; None for words and for nothing."""
    if isinstance(given, (int, float)):
        return float(given)
    try:
        return float(parse_count(str(given).rstrip("+")))
    except ValueError:
        return None


def _words(value: object) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is no figure")
    if value >= 1e9:
        return count(round(value))
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:,.1f}"
