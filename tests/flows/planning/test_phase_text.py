"""What `puna plan` prints of training: figures of the facts, in 100 columns."""

import pytest

from flows.planning.phase_text import WIDTH, training_json, training_lines
from infra.quantities import count, duration
from tasks.checkpoints.shapes import SHAPES
from tasks.training.phases.facts import BinFacts, facts
from tasks.training.phases.section import TrainingSection
from tasks.training.predict.prediction import predict

CATEGORIES = [f"category-{number}" for number in range(12)]
SHARES = dict.fromkeys(CATEGORIES[1:], 1 / 16) | {CATEGORIES[0]: "rest"}


def section(**values):
    phases = [
        {"name": "one", "tokens": "1M", "mixture": {"zh": {"from": 0, "to": 0.5}, "en": "rest"}},
        {"name": "a-rather-long-name", "tokens": "2 epochs", "mixture": SHARES},
    ]
    values = {"batch": "64 rows", "phases": phases, "max_epochs": 3, **values}
    values.setdefault("schedule", {"total": "30M", "warmup": "100K"})
    return TrainingSection.model_validate(values)


BINS = {(name, 1000): BinFacts((600, 400), 900_000) for name in [*CATEGORIES, "zh", "en"]}


def lines(stated, bins):
    found = facts(stated, 1000, CATEGORIES, bins)
    return training_lines(found, predict(stated, found, SHAPES["tinyllama-1.1b"]))


def test_lines_fit_and_hold_the_figures():
    stated = section(hardware={"accelerator": "A100-40G", "count": 2}, precision="bf16")
    told = lines(stated, BINS)
    text = " ".join(" ".join(told).split())
    assert max(map(len, told)) <= WIDTH
    assert "1,100,048,384 parameters" in text
    assert "2 x A100-40G at 40% of 312" in text and "mfu, assumed" in text
    assert "1M tokens, 1,000 rows of 1,000, 16 steps of 64K" in text
    assert "mixture: en 1 → 0.5, zh 0 → 0.5" in text
    assert "epochs: en 0.75, zh 0.25" in text
    assert "loss-bearing tokens: en 675K, zh 225K" in text
    assert "24M tokens, 24,000 rows of 1,000, 375 steps of 64K" in text
    assert "memory a rank:" in text and "of 40 GB" in text
    total = text.rpartition(" total ")[2]
    assert total.startswith("25M tokens") and any(line.startswith("total") for line in told)


def test_what_follows_from_bins_is_a_question_mark_before_them():
    told = lines(section(), {})
    text = " ".join(" ".join(told).split())
    assert "16 steps" in text and "epochs:" not in text
    assert "a-rather-long-name" in text and "? tokens, as bins" in text
    assert not any(line.startswith("total") for line in told)
    assert "state training.hardware" in text


def test_json_has_the_figures_of_every_phase():
    stated = section(hardware={"accelerator": "A100-40G"})
    found = facts(stated, 1000, CATEGORIES, BINS)
    predicted = predict(stated, found, SHAPES["tinyllama-1.1b"])
    told = training_json(found, predicted)
    first = told["phases"][0]
    assert (first["tokens"], first["rows"], first["steps"]) == (1_000_000, 1000, 16)
    assert first["epochs"] == {"en": 0.75, "zh": 0.25}
    assert first["memory_bytes"]["total"] == sum(first["memory_bytes"]["parts"].values())
    assert told["training"]["cost"]["dollars"] == pytest.approx(
        sum(phase["cost"]["dollars"] for phase in told["phases"])
    )
    assert training_json(found, None, "why")["training"] == {"unpredicted": "why"}
    assert training_json([], None) == {}


def test_without_a_shape_the_phases_are_told_and_why_nothing_is_predicted():
    found = facts(section(), 1000, CATEGORIES, BINS)
    told = training_lines(found, None, "the sizes of x cannot be read here; state model.shape")
    text = " ".join(" ".join(told).split())
    why = "training: nothing predicted: the sizes of x cannot be read here; state model.shape"
    assert text.startswith(why) and "16 steps" in text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(42, "42 s"), (600, "10.0 min"), (54_000, "15.0 h"), (86400 * 21.3, "21.3 days")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(512, "512"), (4_194_304, "4.19M"), (8.5e9, "8.5B"), (3e12, "3T"), (999_999_999, "1B")],
)
def test_counts(value, words):
    assert count(value) == words
