"""Where a run's results are."""

from types import SimpleNamespace
from typing import Any

from flows.running.places import in_lines, places_of


def artifact(stage: str, name: str, store: str = "/s") -> Any:
    return SimpleNamespace(name=name, data=SimpleNamespace(url=f"{store}/{stage}/{name}"))


def test_a_run_ends_with_where_things_are_and_how_to_open_them() -> None:
    made = {
        "model": [artifact("model", "main")],
        "training": [artifact("training", "align"), artifact("training", "inject")],
        "binning": [artifact("binning", "web-en")],
        "select": [artifact("select", f"source-{number}") for number in range(8)],
    }
    lines = in_lines(places_of(made), "/s/report.html")
    assert lines[:5] == [
        "Model   /s/training/inject/checkpoint",
        "          from transformers import AutoModelForCausalLM, AutoTokenizer",
        "          model = AutoModelForCausalLM.from_pretrained('/s/training/inject/checkpoint')",
        "          tokenizer = AutoTokenizer.from_pretrained('/s/training/inject/checkpoint')",
        "Bins    /s/binning/web-en/bin-*  (web-en)",
    ]
    assert lines[5] == "Text    /s/select/source-0/*/part-*.jsonl  (source-0)"
    assert lines[-2:] == ["        and 2 more: --json names all", "Report  /s/report.html"]


def test_what_a_run_did_not_make_has_no_line() -> None:
    assert in_lines(places_of({}), None) == []
    remote = places_of({"training": [artifact("training", "a", "s3://bucket")]})
    assert in_lines(remote, None) == ["Model   s3://bucket/training/a/checkpoint"]
