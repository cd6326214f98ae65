"""What a stage and a run show on the dashboard."""

from __future__ import annotations

import base64
import logging
from types import SimpleNamespace
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import pytest

from flows.monitoring import cards, dashboard, run_page
from flows.monitoring.curve import MOST_POINTS, Series, data_url, svg
from flows.monitoring.dashboard import StagePage, log_line
from flows.monitoring.run_page import RunPage
from infra.ledger import Ledger

RUN = "20261121-093012-demo-3fa9"
FLOW_RUN = UUID(int=7)


class Shown(dict[str, Any]):
    """Key -> content of the cards that are on a page now."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    def card(self, flow_run: UUID, kind: str, *key: str) -> Any:
        name, shown = cards.card_key(*key), self
        assert flow_run == FLOW_RUN

        def show(content: Any, description: str) -> None:
            if name not in shown:
                shown.made.append(name)
            shown[name] = content if kind != "progress" else (content, description)

        return SimpleNamespace(is_due=lambda: True, show=show, remove=lambda: shown.pop(name, None))


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    found = Shown()
    for module in (dashboard, run_page):
        monkeypatch.setattr(module, "Card", found.card)
        monkeypatch.setattr(module, "get_run_logger", lambda: logging.getLogger("flows.test"))
    monkeypatch.setattr(dashboard.flow_run, "get_id", lambda: str(FLOW_RUN))
    return found


def step(id: str, state: str = "run", artifact: Any = None) -> Any:
    stage, name = id.split("/")
    node = SimpleNamespace(id=id, name=name, stage=SimpleNamespace(name=stage), upstream=list)
    return SimpleNamespace(
        id=id, node=node, state=state, version="1a2b", why="never built", artifact=artifact
    )


def artifact(**statistics: Any) -> Any:
    return SimpleNamespace(
        ledger=Ledger(),
        statistics=statistics,
        stage="training",
        name="inject",
        data=SimpleNamespace(url="/store/training/inject"),
        files=lambda prefix: [],
    )


def test_notes_of_a_stage_are_shown_whole(shown: Shown) -> None:
    note = (
        "the loss is 699.12 (the median of its last 16 steps), above 10.37, that of guessing " * 2
    )
    training = step("training/inject")
    StagePage(RUN).finished(training, artifact(steps=3, notes=[note, "other"]), 1.0)
    assert shown["notes-training-inject"] == f"- {note}\n- other"
    assert {"statistic": "steps", "value": "3"} in shown["statistics-training-inject"]
    shown.clear()
    StagePage(RUN).finished(training, artifact(steps=3, notes=[]), 1.0)
    assert "notes-training-inject" not in shown


def test_training_is_seen_while_it_runs(shown: Shown, caplog: pytest.LogCaptureFixture) -> None:
    training, page = step("training/inject"), StagePage(RUN)
    caplog.set_level(logging.INFO)
    page.started(training)
    for tokens in (512, 1024, 1536):
        loss = 6.0 - tokens / 1024
        measured = {"tokens": tokens, "loss": loss, "learning_rate": 3e-3, "tokens_per_s": 4e3}
        page.measured(training, measured | {"left_s": 51.0})
        page.progressed(training, tokens, 2048, f"tokens, loss {loss:.3f}, 51 s left")
    percent, words = shown["progress-training-inject"]
    assert percent == 75.0
    assert words == (
        "51 s left, loss 4.500, 1,536 of 2,048 tokens, 4,000 tokens/s, learning rate 0.003"
    )
    image = base64.b64decode(shown["loss-training-inject"].partition(",")[2])
    assert "Loss of training/inject" in "".join(ElementTree.fromstring(image).itertext())
    page.measured(training, measured | {"tokens": 2048, "loss": 4.0})
    page.finished(training, artifact(headline="loss 5.5 to 4"), 9.0)
    image = base64.b64decode(shown["loss-training-inject"].partition(",")[2]).decode()
    assert image.count(",", image.index("polyline")) >= 4 and ">2.05K tokens<" in image
    assert "progress-training-inject" not in shown and "loss-training-inject" in shown
    assert shown.made.count("loss-training-inject") == 1
    begun, under_way, built = (record.message for record in caplog.records)
    assert begun == f'run={RUN} stage=training/inject event=started version=1a2b why="never built"'
    assert (
        "event=progress done=512 total=2048 unit=tokens tokens_per_s" not in under_way
        and "loss=5.5" in under_way
    )
    assert built.endswith("event=built seconds=9 path=/store/training/inject")


def test_a_run_shows_its_stages_and_the_time_left(shown: Shown) -> None:
    ids = ("binning/web", "training/inject", "training/last", "evaluation/inject")
    steps = {"tokenizer/main": step("tokenizer/main", "hit")} | {id: step(id) for id in ids}
    plan: Any = SimpleNamespace(
        recipe="demo", steps=steps, to_run=lambda: [steps[id] for id in ids]
    )
    page = RunPage(FLOW_RUN, plan, RUN, {"binning/web": 9.0, "training/last": 60.0})
    assert shown["progress-demo"] == (
        0.0,
        "69 s left, 0 of 4 stages built, 2 not counted, for want of an earlier run",
    )
    page.started(steps["binning/web"])
    page.finished(steps["binning/web"], artifact(), 3.0)
    page.started(steps["training/inject"])
    page.measured(steps["training/inject"], {"left_s": 30.0})
    page.progressed(steps["training/inject"], 1, 2, "tokens")
    assert shown["progress-demo"] == (
        25.0,
        "90 s left, 1 of 4 stages built, training/inject running, "
        "1 not counted, for want of an earlier run",
    )
    assert [(row["stage"], row["result"]) for row in shown["stages-demo"]] == [
        ("training/inject", "running"),
        ("training/last", "waiting"),
        ("evaluation/inject", "waiting"),
        ("binning/web", "built"),
        ("tokenizer/main", "hit"),
    ]
    scores = artifact(scores={"quiz": {"acc": 0.5, "acc_stderr": 0.1, "n": 20}})
    scores.stage = "evaluation"
    page.finished(steps["evaluation/inject"], scores, 3.0)
    assert shown["benchmarks-demo"] == [
        {"task": "quiz", "metric": "acc", "n": "20", "inject": "0.500 ± 0.100"}
    ]


def test_a_curve_of_many_points_stays_small_and_true() -> None:
    series = Series()
    for tokens in range(1, 100_001):
        series.add(tokens, 100_000 - tokens)
    series.add(100_001, float("nan"))
    assert MOST_POINTS / 2 <= len(series.points) < MOST_POINTS
    assert all(x + y == pytest.approx(100_000) for x, y in series.points)
    assert len(data_url(svg(series.points, 200_000, "Loss", "tokens"))) < 20_000


def test_a_line_of_the_log_can_be_read_by_a_program() -> None:
    line = log_line(stage="a/b", loss=0.25, seconds=2.0, left_s=None, error='it said "no"\nlater')
    assert line == "stage=a/b loss=0.25 seconds=2 error=\"it said 'no' later\""
