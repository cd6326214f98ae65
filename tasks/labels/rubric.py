"""From a document to messages, and from an answer to a score; pure functions."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.labels.stage import TEXT, LabelsParameters, ScoreReading

Messages = tuple[tuple[str, str], ...]
"""(role, content) of each message."""


@dataclass(frozen=True)
class Request:
    """One question to a model. `number`: 1 for the second time that a document is asked about."""

    messages: Messages
    number: int
    settings: Mapping[str, Any]

    @property
    def key(self) -> str:
        """What answers are kept by: equal for equal models, settings and messages."""
        asked = {**self.settings, "messages": self.messages, "number": self.number}
        text = json.dumps(asked, sort_keys=True, ensure_ascii=False, allow_nan=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def settings_of(parameters: LabelsParameters, model: str) -> dict[str, Any]:
    """What decides an answer besides the messages. `model`: what tells it from others."""
    endpoint = parameters.endpoint
    return {
        "model": model,
        "max_tokens": parameters.max_tokens,
        "temperature": parameters.temperature,
        "seed": parameters.seed,
        "extra": endpoint.extra if endpoint is not None else {},
    }


def first_messages(parameters: LabelsParameters, text: str) -> Messages:
    """The question about a document."""
    asked = ("user", parameters.prompt.replace(TEXT, text))
    return (("system", parameters.system), asked) if parameters.system else (asked,)


def asked_again(messages: Messages, answer: str, reminder: str) -> Messages:
    """The conversation after a malformed answer."""
    return (*messages, ("assistant", answer), ("user", reminder))


_OF_MOST = re.compile(r"\s*(?:/|\bout of\b)\s*(\d+(?:[.,]\d+)?)", re.IGNORECASE)


def read_score(answer: str, reading: ScoreReading) -> float | None:
    """The score of an answer: the last match; None for one that is missing or out of range, or on
    another scale, as `3/10` where the highest score is 5.
    """
    try:
        *_, last = re.finditer(reading.pattern, answer)
        score = _number(last[1])
    except (AttributeError, ValueError):  # no match, an empty group, no number
        return None
    most = _OF_MOST.match(answer, last.end(1))
    if most is not None and _number(most[1]) != reading.high:
        return None
    return score if reading.low <= score <= reading.high else None


def _number(text: str) -> float:
    return float(text.strip().replace(",", ".").replace("\u2212", "-"))


def agreement(pairs: Sequence[tuple[float, float]], reading: ScoreReading) -> dict[str, Any]:
    """How far two answers to the same question agree: `same`, `within_one` (shares), and `kappa`,
    Cohen's with quadratic weights (1: perfect, 0: chance; None where all scores are equal).
    """
    if not pairs:
        return {"documents": 0, "same": None, "within_one": None, "kappa": None}
    count = len(pairs)
    first, second = zip(*pairs, strict=True)
    observed = sum((a - b) ** 2 for a, b in pairs) / count
    by_chance = sum((a - b) ** 2 for a in first for b in second) / count**2
    return {
        "documents": count,
        "same": sum(a == b for a, b in pairs) / count,
        "within_one": sum(abs(a - b) <= 1 for a, b in pairs) / count,
        "kappa": None if by_chance == 0 else 1 - observed / by_chance,
    }
