"""`puna inspect` of stages that keep and drop documents: the real text, the value and the limit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from infra.engine import EngineConfig
from tests.end_to_end.direct import run_direct

ENGLISH = "The people of the town have walked to the market with their children and the dogs."
CHINESE = "这个城市的人们每天早上都和孩子们一起去市场买菜，他们在那里遇见很多朋友。"
QUESTION = "Which gas do plants take from the air when they make sugar in bright sunlight today?"
MENU = "Home and news and contact of this site"


def sentences(words: int, number: int) -> str:
    """English text of `words` words, different for every number."""
    base = f"{ENGLISH} Number {number} of them came late.".split()
    return " ".join((base * (words // len(base) + 1))[:words])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty English texts of 40 to 59 words; a Chinese one, one with a leaked question, a blocked
    one.
    """
    folder = tmp_path_factory.mktemp("inspect")
    rows: list[dict[str, Any]] = [
        {
            "text": f"{MENU}\n{sentences(40 + n, n)}",
            "url": f"http://a.example/{n}",
            "license": "CC0",
            "dump": "CC-MAIN-2024-51",
        }
        for n in range(20)
    ]
    rows += [
        {"text": CHINESE * 3, "url": "http://zh.example/"},
        {
            "text": f"{sentences(90, 90)}\n{QUESTION}\n{sentences(90, 91)}",
            "url": "http://q.example/",
        },
        {
            "text": f"{sentences(80, 80)} Write to eve@town.example.org today.",
            "url": "http://www.bad.example/page",
        },
    ]
    lines = [json.dumps(row) for row in rows] + ['{"text": "cut off by \x1b[31m']
    (folder / "web.jsonl").write_text("\n".join(lines))
    (folder / "bad.txt").write_text("bad.example\n")
    (folder / "exam.jsonl").write_text(
        json.dumps({"question": QUESTION, "choices": ["oxygen", "carbon dioxide"], "answer": 1})
        + "\n"
    )
    recipe = {
        "name": "web",
        "block": {"opt-out": {"domains": "bad.txt"}},
        "sources": {
            "web": {
                "ingest": {"format": "jsonl", "paths": ["web.jsonl"]},
                "line_dedup": {"keep": "none", "minimum_copies": 5},
                "langid": {"keep": {"languages": ["en"], "threshold": 0.5}},
                "quality": {
                    "rules": ["gopher.word_count", "c4.sentences"],
                    "keep": {"rules": ["gopher"]},
                },
                "pii": {},
                "category": "web",
            }
        },
        "benchmarks": {"exam": {"format": "multiple-choice", "paths": ["exam.jsonl"]}},
        "decontaminate": {"action": "passage", "passage_margin": 20},
        "dedup": None,
        "select": {"heldout": None},
    }
    (folder / "web.yaml").write_text(json.dumps(recipe))
    run_direct(folder / "web.yaml", folder / "store", EngineConfig(kind="inline"), until="select")
    return folder / "store"


def inspect(store: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["inspect", "--store", str(store), "--stage", *words])


def shown(store: Path, *words: str) -> dict[str, Any]:
    done = inspect(store, *words, "--json")
    assert done.exit_code == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_documents_closest_to_a_rules_limit_with_their_values(store: Path) -> None:
    answer = shown(store, "quality", "--rule", "gopher.word_count", "--near-limit", "--sample", "4")
    values = [
        (entry["fate"], entry["measured"][0]["value"], entry["measured"][0]["verdict"])
        for entry in answer["shown"]
    ]
    assert values == [
        ("dropped", 49, "drops"),
        ("dropped", 48, "drops"),
        ("kept", 50, "passes"),
        ("kept", 51, "passes"),
    ]
    assert answer["shown"][0]["measured"][0]["limit"] == "50 to 100,000"
    assert answer["shown"][0]["license"] == "CC0"
    assert answer["shown"][0]["dump"] == "CC-MAIN-2024-51"
    assert MENU not in answer["shown"][0]["excerpt"]  # as the stage read it


def test_a_rule_that_nobody_fails_still_has_documents_near_its_limit(store: Path) -> None:
    answer = shown(
        store, "quality", "--rule", "gopher.word_count", "--language", "zh", "--near-limit"
    )
    (entry,) = answer["shown"]
    assert (entry["fate"], entry["measured"][0]["limit"]) == ("kept", "75 to 150,000")


def test_every_reason_of_cut_has_its_value_and_limit(store: Path) -> None:
    answer = shown(store, "cut", "--dropped", "--sample", "100")
    reasons = {entry["reasons"][0]: entry for entry in answer["shown"]}
    assert set(reasons) == {
        "block.domain.opt-out",
        "langid.language",
        "quality.gopher.word_count",
    }
    assert answer["fates"] == {"dropped": 12, "kept": 11}
    assert reasons["block.domain.opt-out"]["measured"][0]["value"] == "http://www.bad.example/page"
    language = reasons["langid.language"]["measured"][0]
    assert (language["value"], language["limit"]) == ("zh", "one of en")
    listed = inspect(store, "cut", "--rule", "block", "--dropped").stdout
    assert "domain on block list opt-out  http://www.bad.example/page" in listed
    assert "1/1 dropped block.domain.opt-out" in listed and sentences(10, 80) in listed


def test_removed_text_is_shown_where_it_stood(store: Path) -> None:
    lines = inspect(store, "line_dedup", "--sample", "1").stdout
    assert f"[-{MENU}-]" in lines and "edited line_dedup.line" in lines
    passage = shown(store, "decontaminate")
    assert passage["fates"] == {"edited": 1, "kept": 22}
    (entry,) = passage["shown"]
    assert "[-" in entry["edited"] and f"»{QUESTION.rstrip('?')}«?" in entry["edited"]
    item, share = entry["measured"]
    assert item["value"].startswith("16 common words: which gas do plants")
    assert share["limit"] == "at most 0.5" and 0 < share["value"] < 0.5
    assert [one["fate"] for one in shown(store, "line_dedup", "--kept")["shown"]] == ["kept"] * 3


def test_masked_text_is_shown_with_its_mask(store: Path) -> None:
    answer = shown(store, "pii")
    assert answer["fates"] == {"edited": 1, "kept": 22} and answer["reasons"] == {"pii.email": 1}
    (entry,) = answer["shown"]
    assert "Write to [-eve@town.example.org-]{+email@example.com+} today." in entry["edited"]
    assert "no cut has read it" not in inspect(store, "pii").stdout


def test_filters_narrow_and_the_sample_is_the_same_each_time(store: Path) -> None:
    first = shown(store, "langid", "--language", "zh")
    assert [entry["language"] for entry in first["shown"]] == ["zh"] and first["documents"] == 1
    six = inspect(store, "ingest/web", "--sample", "6").stdout
    assert six == inspect(store, "ingest", "--source", "web", "--sample", "6").stdout
    assert six != inspect(store, "ingest", "--sample", "6", "--seed", "3").stdout
    longest = shown(store, "ingest", "--percentile", "96:100", "--sample", "1")
    assert longest["shown"][0]["url"] == "http://q.example/"
    short = inspect(store, "ingest", "--percentile", "96:100", "--words", "12").stdout
    assert "more words) ..." in short
    none = inspect(store, "langid", "--language", "fr")
    assert none.exit_code == 0 and "no document matches --language fr" in none.stdout


def test_records_that_ingest_refused_are_shown_without_their_control_characters(
    store: Path,
) -> None:
    answer = shown(store, "ingest", "--dropped")
    assert answer["fates"] == {"failed": 1, "kept": 23} and answer["reasons"] == {"json": 1}
    (entry,) = answer["shown"]
    assert (entry["fate"], entry["reasons"], entry["file"]) == ("failed", ["json"], "web.jsonl")
    assert entry["excerpt"] == '{"text": "cut off by \ufffd[31m'
    assert "kept" in inspect(store, "ingest", "--kept", "--dropped").stdout.partition("1/")[2]
    both = inspect(store, "ingest").stdout
    assert (
        "1/6 failed json" in both
        and "2/6 kept" in both
        and "license: CC0  dump: CC-MAIN-2024-51" in both
    )
    assert (
        "failed"
        not in inspect(store, "ingest", "--kept", "--sample", "2").stdout.partition("1/2")[2]
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("cut", "--percentile", "90:10"), "--percentile 90:10: write two numbers from 0 to 100"),
        (("cut", "--percentile", "10:20"), "no document of cut has a score"),
        (("quality", "--near-limit"), "name one with --rule"),
        (("quality", "--source", "wed"), "has no source 'wed' (did you mean 'web'?)"),
        (("cut", "--source", "wed"), "has no source 'wed' (did you mean 'web'?)"),
        (("langid/web", "--source", "other"), "leave one of them out"),
        (("langid", "--cluster", "1"), "--cluster belongs to dedup and semantic, not to langid"),
        (("dedup", "--rule", "near"), "--rule belongs to the other stages, not to dedup"),
        (("signatures",), "decides nothing about documents; inspect reads ingest, langid"),
        (("perplexity",), "has no stage 'perplexity'"),
        (("quality", "--rule", "gofer"), "no document has a reason 'gofer'"),
        (("qualty",), "(did you mean 'quality'?)"),
        (("ingest", "--edited"), "ingest edits no document"),
        (("ingest", "--near-limit"), "have no value beside a limit"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    store: Path, words: tuple[str, ...], message: str
) -> None:
    refused = inspect(store, *words)
    assert refused.exit_code == 2 and message in refused.stderr, refused.stderr
