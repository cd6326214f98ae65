"""docs/faults.md, its picture, and the list of all faults, from the lines that runs wrote."""

from __future__ import annotations

import csv
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.faults.runs.kinds import KINDS

COUNT = 500
"""Faults in all."""
LEAST = 10
"""Faults that every stage is to have."""

Line = Mapping[str, Any]
PICTURE = "images/faults.svg"
LIST = "benchmarks/faults.csv"
SAME, TOLD = "same", "told"
COLOURS = {SAME: "#1a7f37", TOLD: "#bf8700"}
WRONG = "#cf222e"
_ORDER = [
    "ingest",
    "langid",
    "quality",
    "line_dedup",
    "pii",
    "token_vectors",
    "embeddings",
    "labels",
    "classifier",
    "scores",
    "language_model",
    "perplexity",
    "signatures",
    "decontaminate",
    "cut",
    "dedup",
    "select",
    "tokenizer",
    "model",
    "binning",
    "training",
    "evaluation",
    "mixture",
    "shares",
    "scorecard",
    "report",
]
_AROUND = ("planning", "between stages", "the end")
INTRODUCTION = """\
# Faults

Written by `make faults`, which goes on where it was stopped. A run of {artifacts} artifacts, from a
crawl to a report, begins with an empty store and is struck at a random moment. Then what struck it
is taken away (there is room on the disk, a server answers), the run is started again, and the store
has to hold what an undisturbed run makes: the same versions and digests, every file as its manifest
says, nothing half-written, no process left.

- **{count} of {goal} faults** so far: {same} ended with the digests of an undisturbed run,
  {told} did so after a command said what to do, **{wrong} did not** ({moments} moments).
- *Said what to do*: the run that was struck, or a later one, or `puna artifacts verify` named the
  damaged file and the stage to build again, or what is full or missing, without a traceback. Its
  advice is followed as it stands, and has to lead to the same digests.
- {uniform} moments are uniform over the length of an undisturbed run; {aimed} are uniform over the
  length of one stage, for stages that had fewer than {asked}. Each of {stages} stages has
  {least} or more. A moment that came after the run's end, or with nothing there to strike (no
  worker, no artifact), was drawn anew: {again} times.
- Runs are forks of a process that has imported everything, so that one takes {inline_s:.0f} s and
  not a minute; the pool of workers and the processes of stages are the real ones from there on.
  Stores lie in memory. {prefect} faults are of runs under a Prefect server, {s3} of runs with their
  store on S3 (loopback), {ray} of runs on two nodes of Ray; the others walk the same plan without
  flow runs.
- Small disks are file systems of their own that are filled, left without inodes, or mounted
  read-only. Clocks are moved for a run and its children by a library that is loaded before libc;
  file times and the kernel's clock stay.
- What a store holds is judged by code that shares nothing with Puna's
  (`tests/faults/runs/judge.py`).
- The stage `labels` is not struck: it asks a served model. `mixture` and `shares` are in a second
  recipe, as a loop has no search; the report of that one states how long the search took, so only
  its version is compared.

![every fault: its kind, and its moment as a share of the run](images/faults.svg)

All of them, line by line: [{list}]({list}).
"""


def write(
    file: Path, done: Sequence[Line], undisturbed: Mapping[str, Any], named: Sequence[Line]
) -> None:
    """Write the page, and beside it the picture and the list."""
    made = [line for line in done if line["result"] != "no moment"]
    (file.parent / "images").mkdir(exist_ok=True)
    draw(made, file.parent / PICTURE)
    listed(made, file.parent / LIST)
    file.write_text("\n".join(lines(made, undisturbed, named)) + "\n", encoding="utf-8")


def lines(
    made: Sequence[Line], undisturbed: Mapping[str, Any], named: Sequence[Line]
) -> Iterator[str]:
    """The page's lines."""
    of_stage = by_stage(made)
    seconds: dict[str, float] = defaultdict(float)
    for configured in ("disk, inline, search", "disk, inline"):  # the latter's are shown
        steps = undisturbed["steps"].get(configured, {})
        found: dict[str, float] = defaultdict(float)
        for step, (_, length) in steps.items():
            found[step.partition("/")[0]] += length
        seconds |= found
    stages = sorted(seconds, key=_ORDER.index)
    results = Counter(line["result"] for line in made)
    yield INTRODUCTION.format(
        stages=len(stages),
        artifacts=len(undisturbed["artifacts"]["loop"]),
        count=len(made),
        goal=COUNT,
        moments=len({(line["configuration"], line["at_s"]) for line in made}),
        same=results[SAME],
        told=results[TOLD],
        wrong=len(made) - results[SAME] - results[TOLD],
        uniform=sum(not line["aimed_at"] for line in made),
        aimed=sum(bool(line["aimed_at"]) for line in made),
        asked=LEAST,
        again=sum(line["drawn_again"] for line in made),
        least=min(len(of_stage.get(stage, ())) for stage in stages),
        inline_s=undisturbed["seconds"]["disk, inline"],
        prefect=sum("Prefect" in line["configuration"] for line in made),
        s3=sum(line["configuration"].startswith("s3") for line in made),
        ray=sum("ray" in line["configuration"] for line in made),
        list=LIST,
    )
    yield from _kinds(made)
    yield from _stages(of_stage, stages, seconds)
    yield from _crossed(made, stages)
    yield from _cases(named)


def by_stage(made: Sequence[Line]) -> dict[str, list[Line]]:
    """Stage, "planning", "between stages" or "the end" -> the faults that struck there; a fault
    that struck two stages at once is of both.
    """
    found: dict[str, list[Line]] = defaultdict(list)
    for line in made:
        for stage in {step.partition("/")[0] for step in line["where"]}:
            found[stage].append(line)
    return found


def _kinds(made: Sequence[Line]) -> Iterator[str]:
    yield "## By kind of fault"
    yield ""
    columns = "stages | moments, s of s | same digests | said what to do | wrong | for example"
    yield f"| fault | faults | {columns} |"
    yield "|---|--:|--:|---|--:|--:|--:|---|"
    for kind in KINDS:
        of_kind = [line for line in made if line["kind"] == kind.name]
        if not of_kind:
            yield f"| {kind.name} | 0 | | | | | | not made here |"
            continue
        struck = {step.partition("/") for line in of_kind for step in line["where"] if "/" in step}
        at = [line["at_s"] for line in of_kind]
        length = statistics.median(line["of_s"] for line in of_kind)
        yield (
            f"| {kind.name} | {len(of_kind)} | {len({stage for stage, _, _ in struck})} | "
            f"{min(at):.1f} to {max(at):.1f} of {length:.1f} | {_results(of_kind)} | "
            f"{_example(of_kind)} |"
        )
    yield ""


def _results(found: Sequence[Line]) -> str:
    """Three cells: same digests, said what to do, wrong."""
    counts = Counter(line["result"] for line in found)
    return f"{counts[SAME]} | {counts[TOLD]} | {len(found) - counts[SAME] - counts[TOLD]}"


def _example(of_kind: Sequence[Line]) -> str:
    """What was said of one of them, or else what was done."""
    said = [line["told"][0] if line["told"] else line["said"] for line in of_kind]
    words = next((one for one in said if one), "")
    if not words:
        return _cell(of_kind[0]["what"])
    return _cell(words.removeprefix("error: ").splitlines()[0])


def _cell(text: str) -> str:
    for sign in "|<>*_[]`":
        text = text.replace(sign, f"\\{sign}")
    words = [_short(word) for word in text.split()]
    return " ".join(words)[:170]


def _short(word: str) -> str:
    """A path below a fault's folder, without that."""
    for folder in ("/store/", "/world/"):
        word = word.rpartition(folder)[2] or word
    return word


def _stages(
    of_stage: Mapping[str, Sequence[Line]], stages: Sequence[str], seconds: Mapping[str, float]
) -> Iterator[str]:
    yield "## By stage"
    yield ""
    yield "A fault that struck two stages at once is of both."
    yield ""
    columns = "over the whole run | same digests | said what to do | wrong"
    yield f"| stage | seconds undisturbed | faults | {columns} |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for stage in (*stages, *_AROUND):
        found = of_stage.get(stage, [])
        length = f"{seconds[stage]:.2f}" if stage in seconds else ""
        uniform = sum(not line["aimed_at"] for line in found)
        yield f"| {stage} | {length} | {len(found)} | {uniform} | {_results(found)} |"
    yield ""


def _crossed(made: Sequence[Line], stages: Sequence[str]) -> Iterator[str]:
    columns = (*stages, *_AROUND)
    yield "## Kind by stage"
    yield ""
    yield f"| fault | {' | '.join(columns)} |"
    yield "|---|" + "--:|" * len(columns)
    for kind in KINDS:
        found = by_stage([line for line in made if line["kind"] == kind.name])
        counts = [str(len(found[column])) if found.get(column) else "" for column in columns]
        yield f"| {kind.name} | {' | '.join(counts)} |"
    yield ""


def _cases(named: Sequence[Line]) -> Iterator[str]:
    if not named:
        return
    yield "## Named cases"
    yield ""
    yield "| case | result | seconds | what was seen |"
    yield "|---|---|--:|---|"
    for line in named:
        result = "**wrong**" if line["wrong"] else "as it should"
        seen = line["wrong"] or line["seen"]
        yield f"| {line['case']} | {result} | {line['seconds']:.0f} | {_cell(seen)} |"


def listed(made: Sequence[Line], file: Path) -> None:
    """One line a fault."""
    columns = (
        "number",
        "kind",
        "configuration",
        "aimed_at",
        "where",
        "at_s",
        "of_s",
        "what",
        "result",
    )
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        for line in made:
            writer.writerow(
                [", ".join(v) if isinstance(v := line[c], list) else v for c in columns]
            )


def draw(made: Sequence[Line], file: Path) -> None:
    """Every fault as a tick: its kind, and its moment as a share of the run."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    kinds = [kind.name.replace("`", "") for kind in KINDS]
    rows = {name: len(kinds) - number for number, name in enumerate(kinds)}
    with matplotlib.rc_context({"svg.hashsalt": "faults", "svg.fonttype": "none"}):
        figure, axes = plt.subplots(figsize=(9, 7))
        for result, colour in (*COLOURS.items(), ("wrong", WRONG)):
            struck = [
                line
                for line in made
                if (line["result"] if line["result"] in COLOURS else "wrong") == result
            ]
            shares = [min(1.0, line["at_s"] / line["of_s"]) for line in struck]
            heights = [rows[line["kind"].replace("`", "")] for line in struck]
            words = {SAME: "the same digests", TOLD: "said what to do", "wrong": "wrong"}[result]
            label = f"{words} ({len(struck)})"
            axes.plot(shares, heights, "|", color=colour, markersize=11, label=label)
        axes.set_yticks(list(rows.values()), list(rows))
        axes.set_xlim(-0.01, 1.01)
        axes.set_xlabel(
            "moment, as a share of an undisturbed run (a slower run is struck beyond 1)"
        )
        axes.legend(loc="upper center", bbox_to_anchor=(0.4, 1.08), ncols=3, frameon=False)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        figure.savefig(file, bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)
