"""Hostile inputs by hand: how each ends, in what time and memory (`make hostile`).

python -m tests.faults.hostile.run [WORD] [--write docs/hostile.md]
"""

from __future__ import annotations

import argparse
import importlib
import re
import tempfile
from pathlib import Path

from tests.faults.hostile.case import MEMORY_LIMIT_MIB, TIME_LIMIT_S, Case, Seen, fault, meet
from tests.faults.hostile.table import CASES

_PLACE = re.compile(r"/\S*/folder/|^error: ")
_CELL = re.compile(r"[|<>*_\[\]]")


def main() -> int:
    """Returns the number of faults."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("word", nargs="?", default="", help="only cases whose names hold it")
    parser.add_argument("--write", type=Path, help="the page to write")
    given = parser.parse_args()
    for module in ("recipes", "documents", "models", "remote"):
        importlib.import_module(f"tests.faults.hostile.{module}")
    met: list[tuple[Case, Seen, str]] = []
    for case in CASES:
        if given.word not in case.name:
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "folder"
            folder.mkdir()
            seen = meet(case, folder)
            wrong = fault(case, seen, folder)
        met.append((case, seen, wrong))
        mark = "FAULT" if wrong else case.end
        print(f"{mark:8} {case.name}  {seen.seconds:.1f} s, {seen.peak_mib} MiB")
        print(f"         {wrong or first_line(seen.said)}", flush=True)
    if given.write:
        given.write.write_text(page(met), encoding="utf-8")
    return sum(bool(wrong) for _, _, wrong in met)


def page(met: list[tuple[Case, Seen, str]]) -> str:
    """The table as Markdown."""
    faults = sum(bool(wrong) for _, _, wrong in met)
    lines = [
        "# Hostile inputs",
        "",
        "Written by `make hostile`: each input is made in an empty folder and met by a command of "
        "its own. **Refused**: one sentence that names the input, before anything runs or as its "
        "stage begins. **Counted**: the run goes on, and what was wrong is in the counts. Nothing "
        "may be executed, leave the folder, reach the terminal as an order, end in a traceback, "
        f"take {TIME_LIMIT_S:.0f} s or {MEMORY_LIMIT_MIB:,} MiB (peak of the process, of which "
        "Python and the libraries take 50 to 350).",
        "",
        f"{len(met)} inputs, {faults} faults.",
        "",
        "| input | end | seconds | peak, MiB | what was said |",
        "|---|---|---:|---:|---|",
    ]
    for case, seen, wrong in met:
        end = "**FAULT**" if wrong else {"refused": "refused", "done": "counted"}[case.end]
        said = _CELL.sub(r"\\\g<0>", _PLACE.sub("", wrong or first_line(seen.said)))[:200]
        lines.append(f"| {case.name} | {end} | {seen.seconds:.1f} | {seen.peak_mib} | {said} |")
    return "\n".join(lines) + "\n"


def first_line(said: str) -> str:
    """What was said, its error first."""
    lines = [line for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line] or lines or [""]
    return errors[0].strip()[:220]


if __name__ == "__main__":
    raise SystemExit(main())
