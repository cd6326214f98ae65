"""Claims of the literature at a small scale, over three seeds (not a test; `make claims`).

    python tests/benchmarks/claims/run.py [--only NAME] [--seeds 3] [--write docs/claims.md]

Every arm of every claim in claims.yaml is a run of `puna run` with a few settings. What each item
of its scores came to is kept in build/claims/scores.jsonl, under a hash of the recipes and
settings; what is there is not run again, so a run that was killed goes on where it was (a training
that was killed goes on from its checkpoint, by the store). Arms that several claims share, and
stages that arms share, are built once. All claims are run with one seed before the next seed
begins. A seed changes the order of rows and random rows of new tokens; the base is the same.

About an hour of one core.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.benchmarks.claims.arms import BASES, key_of, settings_of
from tests.benchmarks.claims.page import comparisons, drawn, page
from tests.benchmarks.claims.samples import Items, items_of
from tests.benchmarks.claims.texts import write as write_texts

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
BUILD = ROOT / "build" / "claims"
STORE = BUILD / "artifacts"
SCORES = BUILD / "scores.jsonl"
REAL_DATA = Path(os.environ.get("PUNA_REAL_DATA", ROOT.parent / "shared" / "data"))
BOOKS = REAL_DATA / "prose_en" / "classic-books"
PUNA = Path(sys.executable).with_name("puna")


def main() -> None:
    """Run what is missing, then print or write the table."""
    reader = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    reader.add_argument("--only", help="name of a claim")
    reader.add_argument("--seeds", type=int, default=3)
    reader.add_argument(
        "--write", type=Path, help="the page; the picture goes to images/ beside it"
    )
    reader.add_argument("--no-run", action="store_true", help="only what has run already")
    given = reader.parse_args()
    os.chdir(ROOT)  # to which paths in settings are relative
    # A server of its own, which nothing else on the machine stops within the hour.
    os.environ["PREFECT_HOME"] = str(BUILD / "prefect")
    claims = yaml.safe_load((HERE / "claims.yaml").read_text(encoding="utf-8"))
    if given.only and given.only not in (names := [claim["name"] for claim in claims]):
        sys.exit(f"no claim {given.only!r}; name one of {', '.join(names)}")
    if given.only:
        claims = [claim for claim in claims if claim["name"] == given.only]
    known = read_scores()
    if not given.no_run:
        try:
            prepare_world()
            run_missing(claims, given.seeds, known)
        finally:
            subprocess.run([PUNA, "dashboard", "stop"], stdout=subprocess.DEVNULL, check=False)
    found = [(claim, comparisons(claim, seeds_of(claim, known, given.seeds))) for claim in claims]
    if given.write:
        given.write.write_text(page(found, given.seeds), encoding="utf-8")
        drawn(found, given.write.parent / "images" / "claims.svg")
    else:
        print(page(found, given.seeds))


def run_missing(claims: Sequence[Any], seeds: int, known: dict[str, Items]) -> None:
    """Run every arm whose scores are not known."""
    for seed in range(seeds):
        for claim in claims:
            if claim.get("needs") == "real data" and not BOOKS.is_dir():
                print(f"{claim['name']}: left out, there is no {BOOKS}", flush=True)
                continue
            for arm in claim["arms"]:
                key = key_of(claim, arm, seed)
                if not set(claim["scores"]) <= set(known.get(key, {})):
                    start = time.monotonic()
                    known[key] = run_arm(claim, arm, seed)
                    keep(key, known[key], f"{claim['name']}, {arm}, seed {seed}", start)


def prepare_world() -> None:
    """The demo's crawl, the text beside it, and the bases."""
    world = ROOT / "build" / "demo" / "world"
    if not world.is_dir():
        subprocess.run([sys.executable, ROOT / "configs/demo/generate.py", world], check=True)
    write_texts(BUILD, sorted(BOOKS.rglob("*.md")))
    for base in BASES:
        puna_run(HERE / base, [])


def run_arm(claim: Mapping[str, Any], arm: str, seed: int) -> Items:
    """Run one arm with one seed; returns what each item of its scores came to."""
    words = []
    if pinned := claim.get("pinned"):
        alone = puna_run(HERE / claim["recipe"], ["--until", pinned[-1]])
        built = {f"{row['stage']}/{row['name']}": row["version"] for row in alone["stages"]}
        words = [word for stage in pinned for word in ("--pin", f"{stage}={built[stage]}")]
    for setting in settings_of(claim, arm, seed):
        words += ["-s", setting]
    done = puna_run(HERE / claim["recipe"], [*words, "--until", "evaluation/inject"])
    [place] = [row["path"] for row in done["stages"] if row["stage"] == "evaluation"]
    return {score: items_of(Path(place) / "samples", score) for score in claim["scores"]}


def puna_run(recipe: Path, words: Sequence[str]) -> dict[str, Any]:
    """What `puna run --json` prints. It runs in this process: importing Prefect and torch for every
    arm would take as long as a third of its training.
    """
    from flows.cli import app

    printed = io.StringIO()
    command = ["run", str(recipe), *words, "--store", str(STORE), "--json"]
    with contextlib.redirect_stdout(printed):
        code = app(command, standalone_mode=False)
    if code:
        sys.exit(f"puna {shlex.join(command)}: ended with {code}")
    return dict(json.loads(printed.getvalue()))


def read_scores() -> dict[str, Items]:
    """Key -> what the items of its scores came to, of finished runs."""
    found: dict[str, Items] = {}
    if SCORES.is_file():
        for line in SCORES.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            found[row["key"]] = {**found.get(row["key"], {}), **row["items"]}
    return found


def keep(key: str, items: Items, name: str, start: float) -> None:
    """Append a finished run to the file, and say so."""
    seconds = time.monotonic() - start
    with SCORES.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"key": key, "name": name, "items": items}) + "\n")
    means = {score: sum(a) / sum(b) for score, (a, b) in items.items()}
    shown = ", ".join(f"{score} {mean:.4f}" for score, mean in means.items())
    print(f"{time.strftime('%H:%M')} {name} ({seconds:.0f} s): {shown}", flush=True)


def seeds_of(
    claim: Mapping[str, Any], known: Mapping[str, Items], seeds: int
) -> dict[str, list[Items]]:
    """Arm -> items of the seeds for which every arm has run."""
    keys = [{arm: key_of(claim, arm, seed) for arm in claim["arms"]} for seed in range(seeds)]
    whole = [
        of_arms
        for of_arms in keys
        if all(set(claim["scores"]) <= set(known.get(key, {})) for key in of_arms.values())
    ]
    return {arm: [known[of_arms[arm]] for of_arms in whole] for arm in claim["arms"]}


if __name__ == "__main__":
    main()
