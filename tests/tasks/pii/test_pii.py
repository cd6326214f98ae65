"""pii: what is masked and what is not, composed with other stages' edits, and counted."""

import itertools
import json
from pathlib import Path

import pyarrow as pa
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.documents.edits import Edit, apply, column_of, merge, rows_of
from tasks.pii.find import find
from tasks.pii.run import masked
from tasks.pii.stage import STAGE, PiiParameters, PiiReplacements
from tasks.select.stage import STAGE as SELECT
from tasks.select.stage import SelectParameters
from tests.stage_harness import run_stage
from tests.tables import artifact, column, content_digest, documents

KINDS = ("email", "ip", "phone")


def values(text: str) -> list[tuple[str, str]]:
    return [(match.kind, match.value) for match in find(text, KINDS)]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("Write to jane.doe+news@mail.example.co.uk.", "email", "jane.doe+news@mail.example.co.uk"),
        ("<o'neil_1@a-b.de>, or call", "email", "o'neil_1@a-b.de"),
        ("root@[8.8.4.4] is old", "email", "root@[8.8.4.4]"),
        ("地址：wang@qq.com。", "email", "wang@qq.com"),
        ("from 203.0.114.77:8080", "ip", "203.0.114.77"),
        ("The DNS server is 8.8.8.8, it says", "ip", "8.8.8.8"),
        ("https://1.2.3.4/x", "ip", "1.2.3.4"),
        ("host 2001:4860:4860::8888 answers", "ip", "2001:4860:4860::8888"),
        ("Tel. +49 30 901820, daily", "phone", "+49 30 901820"),
        ("Tel. 0049 (30) 90182-0", "phone", "0049 (30) 90182-0"),
        ("call +1-718-550-3805!", "phone", "+1-718-550-3805"),
        ("+1 650 354 4040 24/7", "phone", "+1 650 354 4040"),
        ("电话：+86 10 6552 9988", "phone", "+86 10 6552 9988"),
    ],
)
def test_what_is_masked(text: str, kind: str, value: str) -> None:
    assert values(text) == [(kind, value)]


@pytest.mark.parametrize(
    "text",
    [
        "at 10.0.0.1, 192.168.1.1, 127.0.0.1, 169.254.0.9, 224.0.0.251 and fe80::1",  # not public
        "release 5.3.6.61 and openresty/1.19.7.130, v8.8.4.4, 3.7.1.1 Installing, 1.2.3.4.5",
        "999.1.1.1 and 256.300.1.1 and 01.02.03.200",
        "on 2024-05-17 12:30:45, 17.05.2024 and 12/31/1999, at 10:20:30:40",
        "ISBN 978-3-16-148410-0, ISSN 1234-5678, EAN 4006381333931",
        "doi:10.1000/182.12.13.14, arXiv:2306.01116v2, PMID 12345678",
        "52.5200, 13.4050 or +52.520008 +13.404954 or N 52° 31' 12.025\"",
        "+1.000.000 and +100 000 000 and x+12345678 and GMT+0100 2012 and $0049301234567",
        "@jane on x.com, a@b, user@ and @media print",
        "std::vector<a::b::c> and 00:1A:2B:3C:4D:5E",
        "order 00491234567890123456 and part no. 4915112345678",
        "call 030 901820 or (650) 253-0000",  # national, of no region that is asked for
    ],
)
def test_what_is_not_masked(text: str) -> None:
    assert values(text) == []


def test_a_document_is_masked_consistently() -> None:
    text = "a@x.org b@x.org a@x.org c@x.org +49 30 901820 201.1.2.3 email@example.com"
    edits = masked(find(text, KINDS), PiiReplacements())
    assert apply(text, edits) == (
        "email@example.com firstname.lastname@example.org email@example.com email@example.com "
        "+1 202 555 0100 192.0.2.1 email@example.com"
    )
    assert {edit.reason for edit in edits} == {"pii.email", "pii.phone", "pii.ip"}
    tokens = PiiReplacements(email=("<EMAIL>",))
    assert apply("a@x.org", masked(find("a@x.org", KINDS), tokens)) == "<EMAIL>"


def test_masking_what_is_masked_changes_nothing() -> None:
    text = "a@x.org, +49 30 901820, host 201.1.2.3 and 2001:4860:4860::8888"
    once = apply(text, masked(find(text, KINDS), PiiReplacements()))
    assert masked(find(once, KINDS), PiiReplacements()) == []


@given(st.text("ab1.@+0 :\n29-", max_size=80))
def test_matches_are_disjoint_spans_of_the_text(text: str) -> None:
    matches = find(text, KINDS)
    assert all(text[match.start : match.end] == match.value for match in matches)
    assert all(a.end <= b.start for a, b in itertools.pairwise(matches))


@pytest.mark.parametrize(
    "parameters",
    [
        {"kinds": []},
        {"kinds": ["name"]},
        {"replacements": {"email": []}},
        {"phone_regions": ["XX"]},
        {"phone_regions": "languages"},
    ],
)
def test_bad_parameters_are_refused(parameters: dict[str, object]) -> None:
    with pytest.raises(pydantic.ValidationError):
        PiiParameters.model_validate(parameters)


def test_edits_compose_with_other_stages_and_are_counted(tmp_path: Path) -> None:
    """A masked address on a removed line, across a removed passage, and alone; select applies all
    three stages' edits.
    """
    text = "menu me@x.org\nBody: you@y.org and +49 30 901820 here.\nIP 201.1.2.3 leaks"
    given = documents(tmp_path, "web", [[text, "clean", {"text": "ja", "prompt": "Mail z@z.org?"}]])
    lines = [[Edit(0, 14, "", "line_dedup.line")], [], []]
    start = text.index("201.1")
    passages = [[Edit(start + 4, len(text), "", "decontaminate")], [], []]

    def beside(stage: str, table: pa.Table) -> object:
        return artifact(tmp_path, stage, "web", {"part-00000.parquet": table})

    inputs = {
        "documents": given,
        "line_dedup": beside("line_dedup", pa.table({"edits": column_of(lines)})),
        "langid": beside("langid", pa.table({"language": ["en", "en", "de"]})),
    }
    found = run_stage(STAGE, PiiParameters(), inputs, "web", tmp_path=tmp_path)  # type: ignore[arg-type]
    (row, clean, prompted) = [
        [text[edit["start"] : edit["end"]] for edit in row] for row in column(found, "edits")
    ]
    assert row == ["you@y.org", "+49 30 901820", "201.1.2.3"] and clean == prompted == []
    one = {"values": 1, "documents": 1}
    assert found.statistics["masked"] == {"en": {"email": one, "ip": one, "phone": one}}
    assert found.statistics["in_prompts"] == {"email": 1, "ip": 0, "phone": 0}
    assert found.statistics["documents_masked"] == 1
    ledger = found.ledger
    assert ledger.imbalance() == ""
    assert {entry.reason: entry.bytes for entry in ledger.entries("edited")} == {
        "line_dedup.line": 14,
        "pii.email": len("you@y.org") - len("email@example.com"),
        "pii.ip": len("201.1.2.3") - len("192.0.2.1"),
        "pii.phone": len("+49 30 901820") - len("+1 202 555 0100"),
    }
    decided = pa.table(
        {"reason": pa.nulls(3, pa.string()), "language": ["en"] * 3, "category": ["c"] * 3}
    )
    inputs |= {
        "cut": artifact(tmp_path, "cut", "main", {"web/part-00000.parquet": decided}),
        "decontaminate": beside("decontaminate", pa.table({"edits": column_of(passages)})),
        "pii": found,
    }
    del inputs["langid"]
    selected = run_stage(SELECT, SelectParameters(heldout=None), inputs, "web", tmp_path=tmp_path)  # type: ignore[arg-type]
    written = [
        json.loads(line)["target"]
        for line in selected.path("c/part-00000.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert written == [
        "Body: email@example.com and +1 202 555 0100 here.\nIP 192.0.2.1",
        "clean",
        "ja",
    ]
    assert selected.ledger.imbalance() == ""


def test_merged_masks_are_those_that_are_left() -> None:
    """A mask inside an earlier stage's edit is dropped: nothing of it is left to hide."""
    earlier, mask = [Edit(0, 10, "", "decontaminate")], [Edit(2, 8, "<EMAIL>", "pii.email")]
    assert merge(earlier, mask) == earlier


@pytest.mark.real
def test_numbers_of_real_papers_and_novels_are_left(real_data: Path) -> None:
    """Equations, dates, citations, DOIs and arXiv ids."""
    papers = (real_data / "domain" / "llm-foundry-arxiv" / "arxiv.jsonl").read_text("utf-8")
    texts = [json.loads(line)["text"] for line in papers.splitlines()]
    novels = sorted((real_data / "prose_multi" / "eltec-deu").glob("*.xml"))[:3]
    texts += [novel.read_text("utf-8").partition("<body>")[2] for novel in novels]
    assert sum(map(len, texts)) > 2_000_000
    assert [match.value for text in texts for match in find(text, ("ip", "phone"))] == []


def test_golden_output(tmp_path: Path) -> None:
    """Fails when the output changes: then bump the version in pii/stage.py, and only then this
    digest.
    """
    texts = ["a@x.org", "none", "call +49 30 901820 or +1-718-550-3805", "server 9.9.9.9", ""]
    given = documents(tmp_path, "web", [texts])
    found = run_stage(STAGE, PiiParameters(), {"documents": given}, "web", tmp_path=tmp_path)
    assert sum(map(len, rows_of(pa.array(column(found, "edits"))))) == 4
    assert (STAGE.version, content_digest(found)) == (3, "937881e2d028b492")
