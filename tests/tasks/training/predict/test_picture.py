"""The picture of a plan: well-formed, and its curves are the plan's values."""

import xml.etree.ElementTree as ET

import pytest

from tasks.training.phases.facts import PhaseFacts, facts
from tasks.training.phases.section import TrainingSection
from tasks.training.predict.picture import LEFT, PANEL, RIGHT, TOP, WIDTH, drawn, plan_svg

SECTION = TrainingSection.model_validate(
    {
        "batch": "64 rows",
        "schedule": {"kind": "linear", "warmup": "1M", "final_ratio": 0},
        "phases": [
            {"name": "a.b", "tokens": "4M", "mixture": {"zh <&> en": 0.25, "en": "rest"}},
            {
                "name": "two",
                "tokens": "4M",
                "batch": {"from": "64 rows", "to": "128 rows"},
                "mixture": {"zh <&> en": {"from": 0.25, "to": 1.0}, "en": "rest"},
            },
        ],
    }
)


@pytest.fixture(scope="module")
def svg():
    return ET.fromstring(plan_svg("title", drawn(facts(SECTION, 1000, [], {}))))


def points_of(element):
    return [tuple(map(float, point.split(","))) for point in element.get("points").split()]


def test_curves_are_the_plans_values(svg):
    rate, batch = (points_of(line) for line in svg.findall(".//{*}polyline"))
    assert rate[0] == (LEFT, TOP + PANEL)  # 0 at token 0
    assert min(rate, key=lambda p: p[1]) == (LEFT + (WIDTH - LEFT - RIGHT) / 8, TOP)  # of warm-up
    assert rate[-1] == (WIDTH - RIGHT, TOP + PANEL)  # falls to 0
    middle = [y for x, y in batch if x < LEFT + (WIDTH - LEFT - RIGHT) / 2 - 1]
    assert set(middle) == {batch[0][1]}
    assert batch[-1][1] == pytest.approx(batch[0][1] - PANEL / 2, abs=0.2)  # twice the height


def test_areas_fill_the_panel(svg):
    areas = [points_of(area) for area in svg.findall(".//{*}polygon")]
    assert len(areas) == 4  # two categories in two phases
    top = min(y for area in areas for _, y in area)
    assert max(y for area in areas for _, y in area) - top == pytest.approx(PANEL, abs=0.1)


def test_names_are_written_as_they_are(svg):
    texts = [text.text for text in svg.findall(".//{*}text")]
    assert {"a.b", "two", "zh <&> en", "en", "8M"} <= set(texts)


def test_phases_after_an_unknown_length_are_left_out():
    first, second = facts(SECTION, 1000, [], {})
    assert [phase.name for phase in drawn([first, PhaseFacts("epochs", 1000), second])] == ["a.b"]
    assert drawn([PhaseFacts("epochs", 1000)]) == []
