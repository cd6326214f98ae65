"""Phone numbers without a country code: what is one, what is something else, and whose they are."""

import json
import re
import time
from pathlib import Path

import pyarrow as pa
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.pii.find import find
from tasks.pii.national import REGIONS_OF, national_numbers, regions_of
from tasks.pii.stage import STAGE, PiiParameters
from tests.stage_harness import run_stage
from tests.tables import artifact, column, documents

EVERYWHERE = tuple(dict.fromkeys(region for of in REGIONS_OF.values() for region in of))


def numbers(text: str, *regions: str) -> list[str]:
    return [text[start:end] for start, end in national_numbers(text, regions)]


@pytest.mark.parametrize(
    ("text", "region", "number"),
    [
        ("Contact us: (650) 253-0000.", "US", "(650) 253-0000"),
        ("Suite 250, Phoenix 650-253-0000 Mon-Fri", "US", "650-253-0000"),
        ("toll free 1-800-727-1111", "US", "1-800-727-1111"),
        ("650.253.0000 or mail", "CA", "650.253.0000"),
        ("Call us on 0300 330 3322 (local rate)", "GB", "0300 330 3322"),
        ("London 020 7946 0018", "GB", "020 7946 0018"),
        ("Kontakt 030 2025 1111 Telefonisch", "DE", "030 2025 1111"),
        ("Tel.: 0731 / 153 87-0, Fax", "DE", "0731 / 153 87-0"),
        ("unter der Telefonnummer: 050639010", "DE", "050639010"),
        ("Rufnummer 050639010 zu", "DE", "050639010"),
        ("44000 Nantes\n02 28 16 48 71\n", "FR", "02 28 16 48 71"),
        ("Teléfono: 912 345 678", "ES", "912 345 678"),
        ("联系电话：010-65529988，", "CN", "010-65529988"),
        ("手机13812345678", "CN", "13812345678"),
        ("тел. 8 (495) 739-70-00", "RU", "8 (495) 739-70-00"),
        ("お問い合わせ 03-3224-5000", "JP", "03-3224-5000"),
        ("or mail (089/99529727) at once", "DE", "089/99529727"),
        ("London +44 (0)20 7089 4700", "GB", "+44 (0)20 7089 4700"),
    ],
)
def test_what_is_a_number(text: str, region: str, number: str) -> None:
    assert numbers(text, region) == [number]


@pytest.mark.parametrize(
    "text",
    [
        "on 2024-05-17 12:30:45, 17.05.2024, 05/17/2024, 20240517 and 2024 05 17",
        "1990-1995, 1914 - 1918 and 2001/2002; pages 1024-1048",
        "ISBN 978-3-16-148410-0, ISBN 0-306-40615-2, ISSN 1234-5678, EAN 4006381333931",
        "doi:10.1000/182.12.13.14, arXiv:2306.01116v2, PMID 12345678, order no. 650-253-0000",
        "$650 253 0000, 0 650 253 000 €, 100 000 000 and 1.234.567,89 and 12,345,678",
        "v1.2.3.4.5, 10.0.19041.1288, 192.168.100.100 and 650_253_0000",
        "0.84409359, 0.335005229834 and 3.14159265",
        "a ring (1-2-3-4-5-6-7-8-1) with bonds, 0 1 2 3 4 5 6 7 8 9",
        "1714000000, 1714000000123, id 6502530000, x=6502530000 and 0306406152",
        "52.520008 013.404954, 6502530000px and 650-253-0000-1234",
        "编号13812345678 and QQ：13812345678 and 6222 0202 0000 1234 567",
        "call 2024-05-17 or 17.05.2024, phone 0.84409359 and tel. 1 2 3 4 5 6 7 8 9",
        "|  1  |  020  |  300  |  400  | and 650 253 0000 400 500",
    ],
)
def test_what_is_none(text: str) -> None:
    assert numbers(text, *EVERYWHERE) == []


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("Tel:<030 90182000>", "DE"),
        ("Tel.<030/90182-0>, Fax:<030/90182-100>", "DE"),
        ("电话:<010-62781234>", "CN"),
        ("tel:<6502530000>", "US"),
        ("Tel. <912 345 678> / <612 345 678>", "ES"),
        ("Tel. <912 345 678>, <612 345 678> y <912 345 679>", "ES"),
        ("call <650-253-0000> <650-253-0001>", "US"),
        ("<650-253-0000> <650-253-0001>\n", "US"),
        ("<650-253-0000>, <650-253-0001>, <(650) 253-0002>", "US"),
        ("<030 2025 1111>; <030 2025 1112> und <030 2025 1113>", "DE"),
        ("Tel: <+49 30 20251111>, <030 20251112>", "DE"),
        ("650-253-0000, 650-253-000, 650 pages", "US"),
        ("650 253 0000, 250 253 000, <650-253-0001>", "US"),
        ("12:30:45 and 10:6502530000", "US"),
        ("TEL：<０３－３５８１－０１０１>", "JP"),
        ("お問い合わせ<（03）3581-0101>", "JP"),
        ("هاتف: <٠١٠١٢٣٤٥٦٧٨>", "EG"),
        ("फोन: <०२२ २३४५ ६७८९>", "IN"),
        ("代表 <＋81－3－3581－0101> 番", "JP"),
    ],
)
def test_numbers_in_a_row_behind_a_sign_and_in_other_digits(text: str, region: str) -> None:
    """Numbers are those in angle brackets."""
    plain = text.replace("<", "").replace(">", "")
    expected = re.findall("<(.*?)>", text)
    assert [match.value for match in find(plain, ("phone",), [region])] == expected


def test_a_table_of_numbers_takes_linear_time() -> None:
    def seconds(count: int) -> float:
        started = time.process_time()
        assert numbers("12 34 56 78 " * count, "US", "GB", "DE") == []
        return time.process_time() - started

    assert seconds(80_000) < 30 * seconds(8_000) + 0.5


def test_only_numbers_of_the_regions_are_found() -> None:
    text = "Kontakt 030 2025 1111, Nantes 02 28 16 48 71"
    assert numbers(text, "FR") == ["02 28 16 48 71"] and numbers(text) == []
    assert regions_of("en")[0] == "US" and regions_of("zh-Hant") == regions_of("zh")
    assert regions_of("xx") == () == regions_of("")


def test_numbers_stand_between_other_matches() -> None:
    text = "a@x.org 650-253-0000, +1 650 253 0001 and (650) 253-0002 host 201.1.2.3"
    assert [match.value for match in find(text, ("email", "ip", "phone"), ["US"])] == [
        *("a@x.org", "650-253-0000", "+1 650 253 0001", "(650) 253-0002", "201.1.2.3")
    ]


@given(st.text("Tel. +0(65)-/\n:293", max_size=60))
def test_spans_are_ascending_and_disjoint(text: str) -> None:
    spans = [(match.start, match.end) for match in find(text, ("phone",), EVERYWHERE)]
    flat = [place for span in spans for place in span]
    assert flat == sorted(flat) and all(start < end for start, end in spans)


def test_regions_follow_the_language_or_are_stated(tmp_path: Path) -> None:
    text = "Kontakt 030 2025 1111 and (650) 253-0000"
    given = documents(tmp_path, "web", [[text] * 3])
    languages = pa.table({"language": ["en", "de", None]})
    inputs = {
        "documents": given,
        "langid": artifact(tmp_path, "langid", "web", {"part-00000.parquet": languages}),
    }

    def masks(**parameters: object) -> list[list[str]]:
        given = PiiParameters.model_validate(parameters)
        found = run_stage(STAGE, given, inputs, "web", tmp_path=tmp_path)  # type: ignore[arg-type]
        return [[text[one["start"] : one["end"]] for one in row] for row in column(found, "edits")]

    german, american = "030 2025 1111", "(650) 253-0000"
    assert masks() == [[american], [german], []]
    assert masks(phone_regions=["de", "US"]) == [[german, american]] * 3
    assert masks(phone_regions=[]) == [[], [], []]
    assert PiiParameters(phone_regions=("us", "US")).phone_regions == ("US",)
    with pytest.raises(pydantic.ValidationError, match=r"'UK' is no region .*did you mean GB"):
        PiiParameters(phone_regions=("UK",))


@pytest.mark.real
def test_numbers_of_real_papers_and_novels_are_left(real_data: Path) -> None:
    papers = (real_data / "domain" / "llm-foundry-arxiv" / "arxiv.jsonl").read_text("utf-8")
    texts = [json.loads(line)["text"] for line in papers.splitlines()]
    texts += [path.read_text("utf-8") for path in (real_data / "prose_multi").rglob("*.xml")]
    assert sum(map(len, texts)) > 10_000_000
    assert [number for text in texts for number in numbers(text, *EVERYWHERE)] == []
