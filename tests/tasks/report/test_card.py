"""Cards for the hub: the run's own numbers, what the text is of, and nothing of the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from infra.store import Artifact
from tasks.benchmarks import suites
from tasks.report.card import Subject, card, escaped, without_machine
from tasks.report.contents import contents, domain_of
from tasks.report.summary import summary
from tests.tasks.report.made import made
from tests.tasks.report.sample_run import whole_run


def line(number: int, **more: Any) -> dict[str, Any]:
    return {"source": "", "target": f"文本 {number}", "language": "zh", **more}


def selected(tmp_path: Path) -> Artifact:
    rows = [line(n, url=f"https://www.Example.org:80/{n}", license="cc0") for n in range(6)]
    rows += [line(9, url="http://[broken", language="en"), line(10)]
    held_out = [line(11, url="https://secret.example/")]
    files = {
        "web-zh/part-00000.jsonl": rows[:5],
        "web-en/part-00000.jsonl": rows[5:],
        "heldout/web-zh/part-00000.jsonl": held_out,
    }
    return made("select", {}, files, tmp_path, name="crawl")


def test_contents_are_counted_line_by_line(tmp_path: Path) -> None:
    found = contents([selected(tmp_path)])
    texts = [f"文本 {number}" for number in (0, 1, 2, 3, 4, 5, 9, 10)]
    assert found.sources == {"crawl": (8, sum(len(text.encode()) for text in texts))}
    assert found.languages == {"zh": 7, "en": 1}
    assert found.domains == {"example.org": 6}
    assert found.licences == {"cc0": 6, "none stated": 2}
    assert domain_of("no address") == "" and domain_of("https://a.b/c") == "a.b"


def test_a_models_card_has_its_scores_and_paired_changes(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "run")
    last = run["training"][-1]
    recipe = {"name": "zh", "store": "s3://b/c", "sources": {"a": {"paths": ["/home/me/a.jsonl"]}}}
    subject = Subject(last, "me/zh", run, recipe, contents([selected(tmp_path)]), "llama2")
    text = card(subject)
    _, head, body = text.split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert metadata["language"] == ["zh", "en"] and metadata["license"] == "llama2"
    results = metadata["model-index"][0]["results"]
    exam = next(one for one in results if one["dataset"]["name"] == "exam")
    assert exam["metrics"] == [{"type": "acc", "value": 0.4}]
    row = next(line for line in body.splitlines() if line.startswith("| exam | acc |"))
    assert "| 100 |  | 0.400 ± 0.049 | 0.260 ± 0.044 | +0.140 ± 0.035 |" in row
    assert "bits per byte (lower is better)" in body
    assert "| example.org | 6 |" in body and "| cc0 | 6 |" in body
    assert f"| `{last.identity}` | `{last.manifest.digest[:12]}` |" in body
    assert "The terms of its base (tiny-base/training/basic) apply as well" in body
    assert ".../a.jsonl" in body and "/home/me" not in text and "s3://b/c" not in text


def test_a_suites_published_figures_stand_beside_the_models_own(tmp_path: Path) -> None:
    run = whole_run(tmp_path)
    about = {"shots": 25, "bos": True, "metric": "acc_norm", "suite": "llama-3-6b"}
    row = {"acc": 0.3, "acc_norm": 0.4, "acc_norm_stderr": 0.01, "n": 900, "chance": 0.25}
    scores = {run["training"][0].name: {"arc-challenge": row | {"about": about}}}
    numbers = summary(run) | {"scores": scores, "changes": {}}
    subject = Subject(run["training"][0], "me/zh", run, {}, contents([]), numbers=numbers)
    text = card(subject)
    found = yaml.safe_load(text.split("---\n")[1])["model-index"][0]["results"]
    assert found[0]["metrics"] == [{"type": "acc_norm", "value": 0.4}]
    assert "| arc-challenge | acc norm | 900 | 0.250 | 0.400 ± 0.010 |" in text
    assert "How they were asked: 25 shots, BOS, harness (arc-challenge)." in text
    figures = suites.suite("llama-3-6b").figures("arc-challenge")
    known = " | ".join(f"{value:.3f}" for value in figures.values())
    assert f"| arc-challenge | acc norm | 0.400 ± 0.010 | {known} |" in text
    assert "Published figures of suite llama-3-6b: model card of prince-canuma" in text


def test_a_card_without_scores_or_licence_says_so(tmp_path: Path) -> None:
    run = {stage: given for stage, given in whole_run(tmp_path).items() if stage != "evaluation"}
    text = card(Subject(run["training"][0], "me/zh", run, {}, contents([])))
    assert "This model was not evaluated" in text and "None was stated" in text
    assert "license" not in text.split("---\n")[1] and "| inject |" not in text


def test_a_data_sets_card(tmp_path: Path) -> None:
    given = selected(tmp_path)
    text = card(Subject(given, "me/data", {"select": (given,)}, {}, contents([given]), "cc0-1.0"))
    assert 'load_dataset("me/data", split="train")' in text and "## Content" in text
    assert "## Scores" not in text and "terms of its base" not in text


def test_text_from_outside_stays_in_its_place() -> None:
    assert escaped("<script>|\n[a](javascript:x)") == "&lt;script\\>\\| \\[a\\](javascript:x)"
    assert without_machine({"engine": 1, "a": {"b": ("/x/y", "hf://o/n", 3)}}) == {
        "a": {"b": [".../y", "hf://o/n", 3]}
    }
