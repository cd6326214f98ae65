"""A mixture search on real text, what it predicts of unseen mixtures, and its choice against others
(not a test; `make mixture`).

    python tests/benchmarks/mixture/run.py [--seeds 3] [--no-run] [--write docs/mixture.md]

1. The search of recipe.yaml: 24 proxies of five kinds of text.
2. The twelve proxies of check.yaml, which it has not seen: how many of their losses lie within the
   intervals that the search states.
3. A larger model on the proposed shares, uniform ones, natural ones, and those of the best proxy,
   with several seeds.

Everything is a run of `puna run` in build/mixture: what is there is not run again, so a run that
was killed goes on where it was. About an hour of two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.benchmarks.mixture.page import drawn, page
from tests.benchmarks.mixture.texts import write as write_texts
from tests.benchmarks.mixture.unseen import Proxy, checked, proxies_in

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
BUILD = ROOT / "build" / "mixture"
SCORES = BUILD / "scores.jsonl"
REAL_DATA = Path(os.environ.get("PUNA_REAL_DATA", ROOT.parent / "shared" / "data"))
PUNA = Path(sys.executable).with_name("puna")
LARGE = "evaluation/large"


def main() -> None:
    """Run what is missing, then print or write the page."""
    reader = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    reader.add_argument("--seeds", type=int, default=3)
    reader.add_argument("--no-run", action="store_true", help="only what has run already")
    reader.add_argument("--write", type=Path, help="the page; pictures go to images/ beside it")
    given = reader.parse_args()
    os.chdir(ROOT)  # to which paths in settings are relative
    # A server of its own, which nothing else on the machine stops within the hour.
    os.environ["PREFECT_HOME"] = str(BUILD / "prefect")
    if not REAL_DATA.is_dir():
        sys.exit(f"there is no {REAL_DATA}; set PUNA_REAL_DATA to the folder of real text")
    write_texts(REAL_DATA, BUILD / "texts")
    try:
        found = search("recipe.yaml", "main", run=not given.no_run)
        unseen = proxies_in(search("check.yaml", "check", run=not given.no_run))
        scores = compare(found, given.seeds, run=not given.no_run)
    finally:
        subprocess.run([PUNA, "dashboard", "stop"], stdout=subprocess.DEVNULL, check=False)
    rows = {law: checked(found, unseen, law) for law in found["errors"]}
    text = page(found, unseen, rows, scores)
    if given.write is None:
        print(text)
        return
    given.write.write_text(text, encoding="utf-8")
    drawn(found, rows[found["law"]], given.write.parent / "images" / "mixture.svg")


def search(recipe: str, name: str, *, run: bool) -> dict[str, Any]:
    """What a search found (`fit.json`), and what it took."""
    words = ["--until", f"mixture/{name}"]
    done = puna(["run" if run else "plan", str(HERE / recipe), *words])
    [row] = [r for r in done["stages"] if (r["stage"], r["name"]) == ("mixture", name)]
    if row["result"] not in ("hit", "built"):
        sys.exit(f"mixture/{name} has not been made; run this without --no-run")
    [place] = (BUILD / "artifacts" / "mixture" / name).glob(f"{row['version']}/attempt-*/data")
    found: dict[str, Any] = json.loads((place / "fit.json").read_text(encoding="utf-8"))
    manifest = json.loads((place.parents[1] / "manifest.json").read_text(encoding="utf-8"))
    return found | {"proxy_seconds": manifest["statistics"]["proxy_seconds"]}


def arms(found: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> mixture of the large model. The best proxy is that which is furthest below the others
    of its size and length.
    """
    categories = list(found["shares"])
    proxies = proxies_in(found)

    def total(proxy: Proxy) -> float:
        return sum(weight * proxy.losses[target] for target, weight in found["targets"].items())

    def ahead(proxy: Proxy) -> float:
        size = (proxy.parameters, proxy.tokens)
        like = [total(one) for one in proxies if (one.parameters, one.tokens) == size]
        return total(proxy) - sum(like) / len(like)

    best = min(proxies, key=ahead)
    return {
        "proposed": {"from": "main"},
        "uniform": {category: round(1 / len(categories), 4) for category in categories},
        "natural": {"natural": dict.fromkeys(categories, 1.0)},
        "best proxy": _whole({c.partition("@")[0]: s for c, s in best.shares.items()}),
    }


def _whole(shares: Mapping[str, float]) -> dict[str, float | str]:
    """Shares of four decimals, of which the first takes the rest."""
    first, *others = shares
    return {first: "rest", **{name: round(shares[name], 4) for name in others}}


def compare(
    found: Mapping[str, Any], seeds: int, *, run: bool
) -> dict[str, list[dict[str, float]]]:
    """Arm -> bits per byte by category, one map for each seed; all arms with one seed, then the
    next.
    """
    known = _known()
    scores: dict[str, list[dict[str, float]]] = {}
    for seed in range(seeds):
        for arm, mixture in arms(found).items():
            settings = {
                "training.seed": seed,
                "model.create.seed": seed,
                "training.phases.large.mixture": mixture,
            }
            words = [
                w for key, value in settings.items() for w in ("-s", f"{key}={json.dumps(value)}")
            ]
            key = json.dumps([words, found["shares"]], sort_keys=True)
            if key not in known and run:
                print(f"{time.strftime('%H:%M')} {arm}, seed {seed}", flush=True)
                done = puna(["run", str(HERE / "recipe.yaml"), *words, "--until", LARGE])
                rows = done["scores"]["large"]
                known[key] = {
                    name.partition("/")[2]: row["bits_per_byte"] for name, row in rows.items()
                }
                _keep(key, known[key])
            if key in known:
                scores.setdefault(arm, []).append(known[key])
    return scores


def _known() -> dict[str, dict[str, float]]:
    if not SCORES.is_file():
        return {}
    rows = map(json.loads, SCORES.read_text(encoding="utf-8").splitlines())
    return {row["key"]: row["scores"] for row in rows}


def _keep(key: str, scores: Mapping[str, float]) -> None:
    with SCORES.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"key": key, "scores": scores}) + "\n")


def puna(words: Sequence[str]) -> dict[str, Any]:
    """What `puna ... --json` prints. It runs in this process, as importing Prefect for every run
    takes seconds.
    """
    from flows.cli import app

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = app([*words, "--json"], standalone_mode=False)
    if code:
        sys.exit(f"puna {' '.join(words)} ended with {code}; run again to go on")
    return dict(json.loads(printed.getvalue()))


if __name__ == "__main__":
    main()
