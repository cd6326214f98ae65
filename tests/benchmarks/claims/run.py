"""Claims of the literature at a small scale, over three seeds (not a test; `make claims`).

    python tests/benchmarks/claims/run.py [--only NAME] [--seeds 3] [--write docs/claims.md]

Every arm of every claim in claims.yaml is a run of `puna run` with a few settings; its scores are
kept in build/claims/scores.jsonl, and a run that was interrupted goes on where it was. Seeds change
the order of rows (and random rows), so an arm is compared with the first one seed by seed: the mean
of the differences with its 95 % interval (Student's t).

Some 60 runs of one to three minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
BUILD = ROOT / "build" / "claims"
SCORES = BUILD / "scores.jsonl"
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""The 97.5 % quantile of Student's t for so many seeds."""

REAL_DATA = Path(os.environ.get("PUNA_REAL_DATA", ROOT.parent / "shared" / "data"))
PUNA = Path(sys.executable).with_name("puna")


def main() -> None:
    """Run what is missing, then print or write the table."""
    reader = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    reader.add_argument("--only")
    reader.add_argument("--seeds", type=int, default=3, choices=sorted(STUDENT))
    reader.add_argument("--write", type=Path)
    given = reader.parse_args()
    claims = [
        claim
        for claim in yaml.safe_load((HERE / "claims.yaml").read_text(encoding="utf-8"))
        if given.only in (None, claim["name"])
    ]
    prepare_world()
    known = read_scores()
    for claim in claims:
        if claim.get("needs") == "real data" and not REAL_DATA.is_dir():
            print(f"{claim['name']}: left out, there is no {REAL_DATA}", flush=True)
            continue
        for seed in range(given.seeds):
            for arm in claim["arms"]:
                key = (claim["name"], arm, seed)
                if key not in known:
                    known[key] = run_arm(claim, arm, seed)
                    print(*key, known[key], flush=True)
    text = page(claims, known, given.seeds)
    if given.write:
        given.write.write_text(text, encoding="utf-8")
        picture = given.write.parent / "images" / "claims.svg"
        picture.write_text(drawn(claims, known, given.seeds), encoding="utf-8")
    else:
        print(text)


Key = tuple[str, str, int]
"""Claim, arm, seed."""


def prepare_world() -> None:
    """The demo's crawl and its base."""
    world = ROOT / "build" / "demo" / "world"
    if not world.is_dir():
        subprocess.run([sys.executable, ROOT / "configs/demo/generate.py", world], check=True)
    store = BUILD / "artifacts"
    base = ROOT / "configs" / "demo-base.yaml"
    subprocess.run(
        [PUNA, "run", base, "--store", store, "--json"], check=True, stdout=subprocess.DEVNULL
    )


def read_scores() -> dict[Key, dict[str, float]]:
    """The scores of finished runs."""
    if not SCORES.is_file():
        return {}
    rows = [json.loads(line) for line in SCORES.read_text("utf-8").splitlines()]
    return {(row["claim"], row["arm"], row["seed"]): row["scores"] for row in rows}


def run_arm(claim: dict[str, Any], arm: str, seed: int) -> dict[str, float]:
    """Run one arm with one seed; returns its scores by name."""
    settings = {"training.seed": seed, "model.seed": seed, **claim["arms"][arm]}
    words = [
        word for key, value in settings.items() for word in ("-s", f"{key}={json.dumps(value)}")
    ]
    done = subprocess.run(
        [PUNA, "run", HERE / claim["recipe"], *words, "--store", BUILD / "artifacts", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{claim['name']}, {arm}, seed {seed}: puna run ended with {done.returncode}")
    rows = json.loads(done.stdout)["scores"]["inject"]
    scores = {}
    for name in claim["scores"]:
        row, metric = name.split(" ")
        scores[name] = rows[row][metric]
    BUILD.mkdir(parents=True, exist_ok=True)
    with SCORES.open("a", encoding="utf-8") as file:
        line = {"claim": claim["name"], "arm": arm, "seed": seed, "scores": scores}
        file.write(json.dumps(line) + "\n")
    return scores


def differences(
    claim: dict[str, Any], arm: str, score: str, known: dict[Key, dict[str, float]], seeds: int
) -> list[float]:
    """By how much the first arm is better than another, by seed; empty where it has not run."""
    first, name = next(iter(claim["arms"])), claim["name"]
    found = []
    for seed in range(seeds):
        if not {(name, first, seed), (name, arm, seed)} <= set(known):
            return []
        gain = known[name, first, seed][score] - known[name, arm, seed][score]
        found.append(-gain if "bits_per" in score else gain)
    return found


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half the 95 % interval."""
    spread = statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values), STUDENT[len(values)] * spread


def verdict(mean: float, half: float) -> str:
    """What the interval says."""
    if mean > half:
        return "holds here"
    return "the reverse, here" if -mean > half else "not seen at this scale"


def rows_of(
    claims: list[dict[str, Any]], known: dict[Key, dict[str, float]], seeds: int
) -> list[tuple[dict[str, Any], str, str, float, float]]:
    """(claim, other arm, score, mean gain, half its interval) of all that has run."""
    found = []
    for claim in claims:
        first, *others = claim["arms"]
        for arm in others:
            for score in claim["scores"]:
                if values := differences(claim, arm, score, known, seeds):
                    found.append((claim, f"{first} against {arm}", score, *interval(values)))
    return found


def page(claims: list[dict[str, Any]], known: dict[Key, dict[str, float]], seeds: int) -> str:
    """The table in Markdown."""
    lines = [
        "# Claims of the literature, tested small",
        "",
        "`make claims` runs each claim's recipes, which differ in one thing, and writes this page. "
        "A gain is by how much the first arm is better, with its 95 % interval over "
        f"{seeds} seeds, seed by seed: bits per byte of held-out text, or the share of questions "
        "answered. What a model of 1.6M parameters shows in a minute says little about one of 7B: "
        "read it as a check of the machinery, and of which effects are too small to see here.",
        "",
        "![gains with their intervals](images/claims.svg)",
        "",
        "| claim (source) | arms | score | gain | |",
        "|---|---|---|--:|---|",
    ]
    last = ""
    for claim, arms, score, mean, half in rows_of(claims, known, seeds):
        said = f"{claim['claim']} ({claim['source']})" if claim["name"] != last else ""
        last = claim["name"]
        decides = score == claim["scores"][0]
        told = verdict(mean, half) if decides else ""
        lines.append(f"| {said} | {arms} | {score} | {mean:+.4f} ± {half:.4f} | {told} |")
    missing = [claim for claim in claims if not rows_of([claim], known, seeds)]
    lines += ["", *(f"- Not run: {claim['claim']}" for claim in missing)]
    return "\n".join(lines).replace("-0.", "−0.") + "\n"


def drawn(claims: list[dict[str, Any]], known: dict[Key, dict[str, float]], seeds: int) -> str:
    """The intervals of the scores that decide, each in units of the largest."""
    rows = [row for row in rows_of(claims, known, seeds) if row[2] == row[0]["scores"][0]]
    largest = max((abs(mean) + half for *_, mean, half in rows), default=1.0)
    width, left, line = 900, 330, 26
    middle, reach = left + 270, 260
    parts = []
    for number, (_, arms, _, mean, half) in enumerate(rows):
        y = 40 + line * number
        low, high, at = (
            middle + reach * value / largest for value in (mean - half, mean + half, mean)
        )
        colour = "#1a7f37" if mean > half else "#cf222e" if -mean > half else "#6e7781"
        parts.append(
            f'<text x="{left - 12}" y="{y + 4}" text-anchor="end">{arms}</text>'
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" stroke="{colour}" '
            'stroke-width="2"/>'
            f'<circle cx="{at:.1f}" cy="{y}" r="4.5" fill="{colour}"/>'
        )
    height = 52 + line * len(rows)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="13" fill="#57606a">'
        f"<title>Gain of the first arm with its 95 % interval, in units of {largest:.3f}</title>"
        f'<line x1="{middle}" x2="{middle}" y1="24" y2="{height - 8}" stroke="#8c959f"/>'
        f'<text x="{middle + 8}" y="18">the claim holds →</text>'
        f'<text x="{middle - 8}" y="18" text-anchor="end">← the reverse</text>'
        f"{''.join(parts)}</svg>\n"
    )


if __name__ == "__main__":
    main()
