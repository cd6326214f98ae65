"""Documents with benchmark questions are marked with item and words; generic stems are not."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.engine.processes import Processes
from tasks.benchmarks.model import Benchmark, BenchmarkFiles
from tasks.benchmarks.read import Item, read_items
from tasks.decontaminate.grams import build_index
from tasks.decontaminate.passages import REASON, passages
from tasks.decontaminate.stage import STAGE, DecontaminateParameters
from tasks.documents.edits import Alignment, Edit, apply, bytes_taken, column_of, merge
from tasks.line_dedup.units import removal
from tests.stage_harness import data_digests, run_stage
from tests.tables import artifact, column, documents
from tests.tasks.decontaminate import leaks

LONG = (
    "When the river Aar was diverted in 1868 by engineer La Nicca which of these lakes was used as "
    "its new bed?"
)
ZH_LONG = "一九九八年长江流域发生特大洪水时，下列哪一座城市的堤防最先出现了决口的险情？"
ZH_SHORT = "“辟”和“避”的关系是"


def benchmark(folder: Path, name: str, *rows: dict[str, Any]) -> BenchmarkFiles:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return BenchmarkFiles(format="multiple-choice", paths=(str(path),))


def question(text: str, *choices: str, id: str = "") -> dict[str, Any]:
    return {
        "question": text,
        "choices": list(choices or ("yes", "no")),
        "answer": 0,
        **({"id": id} if id else {}),
    }


def marked(items: list[dict[str, Any]], texts: list[str], **parameters: int) -> list[list[str]]:
    asked = [
        Item("b", str(n), row["question"], tuple(row["choices"]), row["answer"])
        for n, row in enumerate(items)
    ]
    index = build_index({"b": asked}, DecontaminateParameters(against={}, **parameters))  # type: ignore[arg-type]
    return [[index.items[hit.owner].id for hit in hits] for hits in index.grams.find(texts)]


def test_documents_are_marked_with_item_and_words_and_counted(tmp_path: Path) -> None:
    against = {
        "en": benchmark(tmp_path, "en", question(LONG, id="aar"), question("Why?", id="why")),
        "zh": benchmark(tmp_path, "zh", question(ZH_LONG, id="flood")),
    }
    texts = [
        "Nothing here.",
        f"A quiz! {LONG.upper().replace(' ', '  ')} The answer is Biel.",
        f"看一看：{'，'.join(ZH_LONG[5:30])}。When the river Aar was diverted in 1868 by engineer "
        "La Nicca; which",
        "When the river Aar was diverted in 1868 it rained.",
    ]
    given = documents(tmp_path, "web", [texts[:2], [*texts[2:], {"text": "…", "prompt": LONG}]])
    built = run_stage(
        STAGE,
        DecontaminateParameters(against=against, minimum_words=12),
        {"documents": given},
        name="web",
        tmp_path=tmp_path,
    )
    contaminated = column(built, "contaminated")
    assert [[(hit["benchmark"], hit["item"]) for hit in hits] for hits in contaminated] == [
        [],
        [("en", "aar")],
        [("en", "aar"), ("zh", "flood")],
        [],
        [("en", "aar")],
    ]
    assert (
        contaminated[2][0]["overlap"]
        == "when the river aar was diverted in 1868 by engineer la nicca which"
    )
    assert contaminated[2][1]["overlap"] == ZH_LONG[5:30].replace("，", "")
    statistics = built.statistics
    assert statistics["documents_hit"] == 3
    assert statistics["benchmarks"]["en"] == {
        "items": 2,
        "items_hit": 1,
        "items_unmatchable": 1,
        "documents_hit": 3,
    }
    assert statistics["most_hit"][0] == {"benchmark": "en", "item": "aar", "documents": 3}
    assert [row["totals"]["documents"] for row in built.manifest.data["ledger"]["rows"]] == [
        {"kept": 5, "read": 5}
    ]


def test_bytes_are_the_same_for_any_engine(tmp_path: Path) -> None:
    against = {
        "en": benchmark(tmp_path, "en", question(LONG)),
        "zh": benchmark(tmp_path, "zh", question(ZH_LONG)),
    }
    given = documents(tmp_path, "web", [[LONG, "x"], [ZH_LONG + LONG], ["y"]])
    parameters = DecontaminateParameters(against=against)
    alone = run_stage(STAGE, parameters, {"documents": given}, tmp_path=tmp_path / "a")
    engine = Processes(2, 0)
    try:
        together = run_stage(
            STAGE, parameters, {"documents": given}, tmp_path=tmp_path / "b", engine=engine
        )
    finally:
        engine.close()
    assert data_digests(alone) == data_digests(together)


def test_a_shared_stem_marks_nothing_but_each_item_is_still_found() -> None:
    stem = (
        "Which of the following is the best example of a physical change that happens in the "
        "kitchen of"
    )
    items = [
        question(f"{stem} {name} every single day?") for name in ("Anna", "Ben", "Cem", "Dora")
    ]
    texts = [
        f"{stem} nobody?",
        f"{stem} Ben every single day?",
        "the kitchen of Anna every single day",
    ]
    assert marked(items, texts) == [[], ["1"], []]
    assert marked(items, texts[:1], template_items=4) == [["0", "1", "2", "3"]]


def test_a_question_that_is_all_template_is_found_with_its_choices() -> None:
    stem = "下列关于中国古代科学技术成就的各项说法当中正确的一项是"
    items = [
        question(stem, *choices)
        for choices in (("甲骨", "竹简"), ("火药", "罗盘"), ("造纸", "印刷"))
    ]
    assert marked(items, [stem, stem + "（ ）A. 火药 B. 罗盘", stem + "：造纸"]) == [
        [],
        ["1"],
        ["2"],
    ]


def test_short_questions_count_as_a_whole_or_with_their_choices() -> None:
    items = [
        question("What did Ada Lovelace write about in 1843?"),
        question(ZH_SHORT, "繁简字", "通假字", "古今字"),
    ]
    texts = [
        "what did ada lovelace write about in 1843",
        "Ada Lovelace write about in 1843",
        ZH_SHORT,
        ZH_SHORT + " A．繁简字 B．通假字 C．古今字",
        ZH_SHORT + "繁简字",
    ]
    assert marked(items, texts) == [["0"], [], [], ["1"], []]
    assert marked([question("a b c", "d", "e f")], ["a b c d", "so a b c d e f"]) == [[], ["0"]]
    assert marked([question("a", "b")], ["a b", "a A b"]) == [[], []]


def test_the_same_item_twice_is_not_a_template() -> None:
    assert marked([question(LONG)] * 5, [LONG], template_items=1) == [["0", "1", "2", "3", "4"]]


def test_prompts_and_limits_are_not_part_of_the_version(tmp_path: Path) -> None:
    files = benchmark(tmp_path, "en", question(LONG))
    asked = Benchmark(format="multiple-choice", paths=files.paths, limit=3)
    given = DecontaminateParameters(against={"en": asked})
    assert given.identity() == DecontaminateParameters(against={"en": files}).identity()
    assert given.file_references() == {"against.en.paths": files.paths}
    with pytest.raises(
        pydantic.ValidationError, match="minimum_words is 14, more than the n-gram's 13"
    ):
        DecontaminateParameters(against={}, minimum_words=14)


FILLER = (
    "The river was wide and slow that year. Nobody in the village could say why it had changed its "
    "course. "
)
FILLER_ZH = "那一年河水又宽又慢，村里没有人说得清它为什么改了道。老人们都说从来没有见过这样的事情。"


def test_passages_are_offsets_of_the_ingest_text_and_leave_whole_sentences(tmp_path: Path) -> None:
    rows = (question(LONG, id="aar"), question(ZH_LONG, id="flood"))
    against = {"en": benchmark(tmp_path, "en", rows[0]), "zh": benchmark(tmp_path, "zh", rows[1])}
    leak = f"A quiz of ours.\n{LONG.replace(' by ', chr(10) + 'Menu' + chr(10))}\nA. Biel B. Morat"
    leak = leak.replace("engineer", "by engineer")
    texts: list[Any] = [
        f"Menu\n{FILLER * 8}\n\nMenu\n{leak}\n\nMenu\n{FILLER * 8}",
        f"Menu\n{leak}",
        f"{FILLER_ZH * 20}{ZH_LONG}选项：甲、乙。{FILLER_ZH * 20}",
        {"text": FILLER, "prompt": LONG},
        FILLER,
    ]
    given = documents(tmp_path, "web", [texts[:2], texts[2:]])
    plain = column(given, "text")
    menus = [
        [Edit(match.start(), match.end(), "", "menu") for match in re.finditer("Menu\n", text)]
        for text in plain
    ]
    columns = (column_of(menus[:2]), column_of(menus[2:]))
    parts = {
        f"part-{number:05d}.parquet": pa.table({"edits": edits})
        for number, edits in enumerate(columns)
    }
    inputs = {"documents": given, "line_dedup": artifact(tmp_path, "line_dedup", "web", parts)}
    built = run_stage(
        STAGE, DecontaminateParameters(against=against), inputs, name="web", tmp_path=tmp_path
    )
    hits = [row[0] if row else {} for row in column(built, "contaminated")]
    assert [hit.get("item") for hit in hits] == ["aar", "aar", "flood", "aar", None]
    assert plain[0][hits[0]["start"] : hits[0]["end"]] == leak.split("\n", 1)[1].rsplit("?", 1)[0]
    assert (hits[0]["words"], hits[3]["start"]) == (len(LONG.split()), None)
    taken = [[Edit(**edit) for edit in row] for row in column(built, "edits")]
    left = [
        apply(text, merge(*several)) for text, *several in zip(plain, menus, taken, strict=True)
    ]
    assert left[0].count(FILLER.split(".")[0]) == 12 and left[0].count("\n\n") == 1
    assert set(re.split(r"[.]\s+", left[0])) == set(re.split(r"[.]\s+", FILLER * 2))
    assert left[1] == "" and left[3:] == [FILLER, FILLER]
    assert left[2].count("\n") == 1 and set(left[2].replace("\n", "").split("。")) == set(
        FILLER_ZH.split("。")
    )
    shares = column(built, "passage_share")
    assert (
        0.2 < shares[0] < 0.5
        and shares[1] == shares[3] == 1
        and 0.1 < shares[2] < 0.4
        and shares[4] == 0
    )
    again = documents(tmp_path / "again", "web", [left])
    cured = run_stage(
        STAGE, DecontaminateParameters(against=against), {"documents": again}, tmp_path=tmp_path
    )
    assert cured.statistics["documents_hit"] == 0 and built.statistics["passages"] == 3
    (row,) = built.manifest.data["ledger"]["rows"]
    assert [(r["side"], r["reason"], r["bytes"]) for r in row["reasons"]] == [
        ("edited", "menu", 6 * 5)
    ]


def test_a_passage_includes_the_choices_however_long_and_however_printed(tmp_path: Path) -> None:
    choices = [
        f"because {name} " + "had always flooded the plain and its villages in spring " * 6
        for name in ("a", "b")
    ]
    files = tmp_path / "en.jsonl"
    files.write_text(json.dumps({**question(LONG, *choices), "id": "aar"}))
    against = {"en": BenchmarkFiles(format="multiple-choice", paths=(str(files),))}
    printed = [
        f"(A) {choices[0].upper()}\n\n(B) {choices[1].replace(' ', chr(10))}\nAnswer: B",
        "Nothing follows.",
    ]
    texts = [f"{FILLER * 8}\n\n{LONG}\n{rest}\n\n{FILLER * 8}" for rest in printed]
    given = documents(tmp_path, "web", [texts])
    built = run_stage(
        STAGE, DecontaminateParameters(against=against), {"documents": given}, tmp_path=tmp_path
    )
    taken = [[Edit(**edit) for edit in row] for row in column(built, "edits")]
    left = [apply(text, edits) for text, edits in zip(texts, taken, strict=True)]
    for text in left:
        assert set(re.split(r"[.]\s+", text)) == set(re.split(r"[.]\s+", FILLER * 2))
        assert 11 <= text.count(FILLER.split(".")[0]) <= 14


def test_an_item_of_two_benchmarks_is_named_twice_and_removed_once(tmp_path: Path) -> None:
    against = {
        name: benchmark(tmp_path, name, question(LONG, id=f"{name}1")) for name in ("one", "two")
    }
    given = documents(tmp_path, "web", [[f"{FILLER * 5}{LONG} {FILLER * 5}"]])
    built = run_stage(
        STAGE, DecontaminateParameters(against=against), {"documents": given}, tmp_path=tmp_path
    )
    ((first, second),) = column(built, "contaminated")
    assert (first["item"], second["item"]) == ("one1", "two1")
    assert (
        (first["start"], first["end"])
        == (second["start"], second["end"])
        == (len(FILLER * 5), len(FILLER * 5 + LONG) - 1)
    )
    assert [len(row) for row in column(built, "edits")] == [1]


@given(st.text(alphabet="ab. \n。é", max_size=60), st.data(), st.integers(0, 5))
def test_passages_of_edited_text_compose_with_the_edits(
    text: str, data: st.DataObject, margin: int
) -> None:
    full = [number for number, line in enumerate(text.split("\n")) if line.strip()]
    gone = sorted(data.draw(st.sets(st.sampled_from(full)))) if full else []
    lines = removal(text, [(number, number + 1) for number in gone], "line")
    edited = apply(text, lines)
    spans = []
    for _ in range(data.draw(st.integers(0, 3)) if edited else 0):
        start = data.draw(st.integers(0, len(edited) - 1))
        spans.append((start, data.draw(st.integers(start + 1, len(edited)))))
    removed = passages(edited, spans, margin)
    places = [Alignment(lines).span(edit.start, edit.end) for edit in removed]
    both = merge(
        lines,
        [edit._replace(start=at, end=end) for edit, (at, end) in zip(removed, places, strict=True)],
    )
    left = apply(edited, removed)
    assert apply(text, both) == left
    taken = bytes_taken(text, both)
    assert taken["line"] == len(text.encode()) - len(edited.encode())
    assert taken[REASON] == len(edited.encode()) - len(left.encode())


@given(st.text(alphabet="ab. \n。", max_size=60), st.data(), st.integers(0, 5))
def test_passages_cover_what_is_asked_and_end_at_sentences(
    text: str, data: st.DataObject, margin: int
) -> None:
    spans = []
    for _ in range(data.draw(st.integers(0, 3)) if text else 0):
        start = data.draw(st.integers(0, len(text) - 1))
        spans.append((start, data.draw(st.integers(start + 1, len(text)))))
    removed = passages(text, spans, margin)
    apply(text, removed)  # ascending, disjoint, within the text
    for start, end in spans:
        assert any(edit.start <= start and end <= edit.end for edit in removed)
    for edit in removed:
        assert edit.start == 0 or not text[edit.start - 1].isspace()
        assert edit.end == len(text) or not text[edit.end].isspace()
        between = text[edit.start :][: len(text[edit.start :]) - len(text[edit.start :].lstrip())]
        assert edit.start == 0 or text[edit.start - 1] in ".。" or "\n" in between


@pytest.mark.real
def test_items_of_every_benchmark_are_found_however_they_are_printed(real_data: Path) -> None:
    rng = random.Random(0)
    benchmarks = {
        name: rng.sample(items, 15) for name, items in leaks.real_benchmarks(real_data).items()
    }
    items = [item for members in benchmarks.values() for item in members]
    index = build_index(benchmarks, DecontaminateParameters(against={}))
    assert sum(index.unmatchable.values()) == 0
    for manner, change in leaks.MANNERS.items():
        texts = []
        for item in items:
            before, after = rng.choices(leaks.prose(real_data, leaks.is_chinese(item)), k=2)
            texts.append(leaks.in_text(change(leaks.as_printed(item), rng), before, after))
        missed = [
            items[number].id
            for number, hits in enumerate(index.grams.find(texts))
            if number not in {hit.owner for hit in hits}
        ]
        assert not missed, manner
    pages = [
        leaks.on_a_page(leaks.as_printed(item), *leaks.prose(real_data, leaks.is_chinese(item))[:2])
        for item in items
    ]
    missed = [
        items[n].id
        for n, hits in enumerate(index.grams.find(pages))
        if n not in {hit.owner for hit in hits}
    ]
    assert not missed, "on a page"


@pytest.mark.real
def test_real_questions_are_found_in_pages_and_nowhere_else(real_data: Path) -> None:
    folder = real_data / "benchmarks"
    paths = {
        "arc": [folder / "llm-foundry/world_knowledge/arc_easy.jsonl"],
        "cmmlu": sorted((folder / "cmmlu/test").glob("*.csv")),
    }
    asked = {
        name: read_items(name, BenchmarkFiles(format=name, paths=("-",)), files)  # type: ignore[arg-type]
        for name, files in paths.items()
    }
    index = build_index(asked, DecontaminateParameters(against={}))
    pages = [
        "\n".join(
            [
                item.question,
                *(f"{letter}. {c}" for letter, c in zip("ABCD", item.choices, strict=False)),
            ]
        )
        for item in index.items
    ]
    is_found = [
        any(hit.owner == n for hit in hits) for n, hits in enumerate(index.grams.find(pages))
    ]
    assert sum(is_found) / len(is_found) > 0.98
    novel = (real_data / "prose_zh/four-novels/西游记.txt").read_text(errors="replace")
    prose = (real_data / "prose_en/wikitext-2/valid.txt").read_text()
    assert index.grams.find([novel, prose]) == [[], []]
