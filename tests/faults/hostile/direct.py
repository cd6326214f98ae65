"""Build a recipe up to a stage without a Prefect server: `direct RECIPE STORE STAGE`.

Prints what each stage counted; an error as `puna run` does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from flows.cli.common import say
from flows.recipe.file import RecipeError
from flows.running.failures import Failure, advise, in_words, traceback_of
from flows.running.walk import StepFailed
from infra.engine import EngineConfig
from infra.stage import StageError
from tests.end_to_end.direct import run_direct


def main(recipe: str, store: str, until: str) -> int:
    """Returns the exit status."""
    try:
        built = run_direct(Path(recipe), Path(store), EngineConfig(kind="inline"), until=until)
    except (RecipeError, StageError) as error:
        say(f"error: {error}")
        return 2
    except StepFailed as failure:
        advice = advise(Failure(failure.cause, failure.step.id, store))
        if advice.traceback:
            say(traceback_of(failure.cause))
        say(f"error: {failure.step.id} failed: {in_words(failure.cause)}\n{advice.action}")
        return 1
    for name, artifact in built.items():
        print(name, json.dumps(artifact.manifest.statistics, sort_keys=True))
        for entry in artifact.ledger.lost():
            print("  ", entry)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
