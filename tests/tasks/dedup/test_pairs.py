"""Documents with a prompt: identity and similarity are those of the whole record."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.stage import GateError, StageError
from infra.store import Artifact
from tasks.dedup.stage import STAGE, DedupParameters
from tasks.duplicates.agreement import check_index
from tasks.duplicates.inspect import read_documents
from tasks.select.stage import STAGE as SELECT
from tasks.select.stage import SelectParameters
from tasks.signatures.run import sign
from tasks.signatures.stage import SignaturesParameters
from tasks.text.shingles import Utf8
from tests.stage_harness import run_stage
from tests.tasks.dedup.corpus import dedup_inputs, document, edited, outcomes, prose
from tests.tasks.dedup.oracle import fates

OPEN = {"largest_cluster": None, "removal_rate": None}


def pair(number: int, prompt: str, text: str) -> dict[str, Any]:
    return document(text, "web", f"{number:05d}") | {"prompt": prompt}


def gone(
    rows: list[dict[str, Any]], tmp_path: Path, **parameters: Any
) -> dict[str, tuple[str, str]]:
    """Id -> (kind, id of the kept document); checked against the definition."""
    inputs = dedup_inputs({"web": rows}, tmp_path)
    chosen = DedupParameters(**{"prefer": ("length",), "gates": OPEN, **parameters})
    fate_of = outcomes(run_stage(STAGE, chosen, inputs, tmp_path=tmp_path), inputs)
    expected = fates(inputs, 0.8, 14, 8)
    assert {id: row["duplicate_of"] for id, row in fate_of.items()} == {
        id: head for id, (head, _) in expected.items()
    }
    return {id: (row["kind"], row["duplicate_of"]) for id, row in fate_of.items() if row["kind"]}


def test_different_questions_answered_yes_or_no_all_stay(tmp_path: Path) -> None:
    rows = [
        pair(n, f"Is number {n} on the road to the market town?", ["yes", "no"][n % 2])
        for n in range(20)
    ]
    assert gone(rows, tmp_path) == {}


def test_pairs_with_few_different_answers_lose_only_copies(tmp_path: Path) -> None:
    rng = random.Random(2)
    answers = ["Yes.", "no", "是", "1848", "It is not known.", " ".join(prose(rng, 60))]
    rows = [
        pair(n, " ".join(prose(rng, rng.randint(1, 40))) + "?", rng.choice(answers))
        for n in range(400)
    ]
    copies = [
        pair(1_000 + n, f" {rows[n]['prompt'].upper()}", rows[n]["text"]) for n in range(0, 50, 5)
    ]
    other = [pair(2_000 + n, rows[n]["prompt"], "none of these") for n in range(1, 50, 5)]
    removed = gone([*rows, *copies, *other], tmp_path)
    exact = {frozenset((f"{1_000 + n:05d}", f"{n:05d}")) for n in range(0, 50, 5)}
    assert {
        frozenset((id, head)) for id, (kind, head) in removed.items() if kind == "exact"
    } == exact
    # A long answer to a short question: what is similar as a whole goes, and says so.
    near = {id for id, (kind, _) in removed.items() if kind == "near"}
    assert all(len(row["text"]) > 100 for row in rows if row["id"] in near)


@pytest.mark.parametrize("length", [12, 40, 400])
def test_one_question_with_different_answers_stays(tmp_path: Path, length: int) -> None:
    """Reading comprehension: a passage with many questions; most of the shingles are the same."""
    passage = " ".join(prose(random.Random(length), length))
    answers = [
        "yes",
        "no",
        "4",
        "5",
        "in the spring of 1848",
        "the people of the town who made wool",
        "好",
        "不",
    ]
    assert gone([pair(n, passage, answer) for n, answer in enumerate(answers)], tmp_path) == {}


def test_near_copies_of_records_are_removed(tmp_path: Path) -> None:
    rng = random.Random(4)
    prompt, text = prose(rng, 120), prose(rng, 120)
    joined = " ".join
    rows = [
        pair(0, joined(prompt), joined(text)),
        pair(1, joined(edited(rng, prompt, 2)), joined(text)),
        pair(2, joined(prompt), joined(edited(rng, text, 2))),
        pair(3, joined(prompt), "yes"),
        pair(4, joined(edited(rng, prompt, 1)), "yes"),
        pair(5, joined(prompt), joined(prose(rng, 10))),
        pair(6, joined(text), joined(prompt)),
    ]
    removed = gone(rows, tmp_path)
    assert {kind for kind, _ in removed.values()} == {"near"}
    assert (
        len({"00000", "00001", "00002"} & set(removed)) == 2
        and len({"00003", "00004"} & set(removed)) == 1
    )
    assert not {"00005", "00006"} & set(removed)


def test_pairs_that_differ_only_in_their_border_are_different(tmp_path: Path) -> None:
    rows = [pair(0, "one two", "three"), pair(1, "one", "two three"), pair(2, "", "one two three")]
    rows += [
        pair(3, "three", "one two"),
        pair(4, "one two\nthree", "four"),
        pair(5, "one two", "three\nfour"),
    ]
    assert gone(rows, tmp_path) == {}


def test_records_without_words_are_different(tmp_path: Path) -> None:
    """Emoji are in no shingle: records that differ only in them must not be similar."""
    rows = [pair(n, face, "positive") for n, face in enumerate("😀😁😂🤣")]
    rows += [
        pair(10 + n, "How do you like this soup of beans?", face) for n, face in enumerate("👍👎")
    ]
    rows += [pair(20, "😀", "positive"), pair(21, "🙂", "🙂"), pair(22, "🙂", "🙁")]
    assert gone(rows, tmp_path) == {"00020": ("exact", "00000")}


def test_pairs_do_not_change_the_signatures_of_documents_without_a_prompt() -> None:
    texts = [" ".join(prose(random.Random(n), 30)) for n in range(5)] + ["", "🙂"]
    alone = sign(SignaturesParameters(), pa.table({"text": texts}))
    beside = pa.table(
        {"text": [*texts, "yes", "yes"], "prompt": [*[""] * len(texts), "a question?", "another?"]}
    )
    both = sign(SignaturesParameters(), beside)
    assert both.slice(0, len(texts)).to_pylist() == alone.to_pylist()
    assert both["text_hash"][-1] != both["text_hash"][-2]
    assert both["length"].to_pylist()[-2:] == [14, 11]


def test_pairs_in_many_batches_equal_pairs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    rows = [
        (" ".join(prose(rng, rng.randint(0, 9))), " ".join(prose(rng, rng.randint(0, 9))))
        for _ in range(60)
    ]
    table = pa.table({"prompt": [prompt for prompt, _ in rows], "text": [text for _, text in rows]})
    together = sign(SignaturesParameters(), table)
    batches = Utf8.batches
    monkeypatch.setattr(Utf8, "batches", lambda self: batches(self, 40))
    assert sign(SignaturesParameters(), table).to_pylist() == together.to_pylist()
    alone = [sign(SignaturesParameters(), table.slice(row, 1)).to_pylist()[0] for row in range(60)]
    assert alone == together.to_pylist()
    assert np.count_nonzero([row["signature"] is None for row in alone]) == sum(
        not (q and a) and (q != "" or a == "") for q, a in rows
    )


def test_gates_and_inspection_show_prompts(tmp_path: Path) -> None:
    rows = [pair(n, "Why is the sky so blue?", "Because of air.") for n in range(4)]
    inputs = dedup_inputs({"web": rows}, tmp_path)
    with pytest.raises(GateError, match=r"Why is the sky so blue\? \| Because of air\."):
        run_stage(
            STAGE,
            DedupParameters(prefer=("length",), gates={"removal_rate": 0.5}),
            inputs,
            tmp_path=tmp_path,
        )
    given = inputs["documents"]
    assert not isinstance(given, Artifact)
    shown = read_documents([(given[0], None)], ["00000"])
    assert shown == {"00000": "Why is the sky so blue?\nBecause of air."}


def test_an_index_of_an_earlier_version_is_an_error(tmp_path: Path) -> None:
    inputs = dedup_inputs({"web": [pair(0, "Why?", "So.") | {"category": "web"}]}, tmp_path)
    made = run_stage(STAGE, DedupParameters(prefer=("length",)), inputs, tmp_path=tmp_path)
    roles = {role: inputs[role] for role in ("documents", "signatures", "cut")} | {"dedup": made}
    index = run_stage(SELECT, SelectParameters(), roles, "web", tmp_path=tmp_path)  # type: ignore[arg-type]
    assert pq.read_table(index.path("index/part-00000.parquet")).num_rows == 1
    with pytest.raises(
        StageError, match=r"made by version 3 of the stage signatures.* by version 2.*again"
    ):
        check_index(index, {"version": 2})
