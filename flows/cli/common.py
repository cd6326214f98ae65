"""What the commands share: options, exit codes, and errors as sentences."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.interrupts import INTERRUPTED
from infra.secrets import redacted
from infra.visible import visible

if TYPE_CHECKING:
    from flows.planning.request import RunRequest
    from infra.store import Artifact, Store
    from infra.store.manifest import InputReference

EXIT_FAILED, EXIT_USAGE, EXIT_GATE, EXIT_INTERRUPTED = 1, 2, 3, INTERRUPTED

RecipeArgument = Annotated[
    Path, typer.Argument(help="A recipe, such as configs/demo.yaml.", show_default=False)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "-s", "--set", metavar="KEY=VALUE", help="Override a value of the recipe; repeatable."
    ),
]
StoreOption = Annotated[
    str | None, typer.Option("--store", help="URL of the store, instead of the recipe's.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--only", metavar="S", help="Run only stage S (`stage` or `stage/name`); repeatable."
    ),
]
FromOption = Annotated[
    list[str] | None, typer.Option("--from", metavar="S", help="Run S and what follows it.")
]
UntilOption = Annotated[
    list[str] | None, typer.Option("--until", metavar="S", help="Run S and what it depends on.")
]
ForceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--force",
        metavar="S",
        help="Build S again, and what reads it where it then holds other data; repeatable.",
    ),
]
PinOption = Annotated[
    list[str] | None,
    typer.Option(
        "--pin",
        metavar="S=VERSION",
        help="Use that version of S, or the one with that tag of this recipe; repeatable.",
    ),
]
RefArgument = Annotated[
    str, typer.Argument(metavar="REF", help="stage/name[@version-or-tag].", show_default=False)
]
StoreUrl = Annotated[str, typer.Option("--store", help="URL of the store.", envvar="PUNA_STORE")]


def say(text: str) -> None:
    """Print a line on stderr, without the secrets that an error may repeat, nor what a terminal
    obeys, nor places in a recipe that the command wrote itself.
    """
    for recipe in _OWN_RECIPES:
        text = re.sub(rf"{re.escape(recipe)}(:\d+)?: ", "", text)
    print(visible(redacted(text)), file=sys.stderr, flush=True)


def put(text: object) -> None:
    """Print a result on stdout, with what a terminal obeys made visible; JSON stays the same."""
    print(visible(str(text)))


_OWN_RECIPES: list[str] = []


def own_recipe(recipe: Path) -> None:
    """Say no more that something stands in this recipe, which the user has never seen."""
    _OWN_RECIPES.append(str(recipe))


_OPENED: list[Artifact] = []
"""Artifacts that this command opened; checked for damage if reading fails."""


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn errors into a sentence and an exit code: 2 for a bad request, 1 for a damaged store."""
    from flows.recipe.file import RecipeError
    from infra.stage import StageError
    from infra.store import Damaged
    from infra.store.damage import blaming_inputs

    try:
        yield
    except Damaged as error:
        say(f"error: {error}")
        raise typer.Exit(EXIT_FAILED) from None
    except (RecipeError, StageError) as error:
        say(f"error: {error}")
        raise typer.Exit(EXIT_USAGE) from None
    except typer.Exit:
        raise
    except Exception as unforeseen:
        try:
            with blaming_inputs("reading", _OPENED):
                raise
        except Damaged as error:
            say(f"error: {error}")
            raise typer.Exit(EXIT_FAILED) from None
        except OSError:
            from flows.running.failures import Failure, advise, in_words

            advice = advise(Failure(unforeseen))
            if advice.traceback:
                raise
            say(f"error: {in_words(unforeseen)}\n{advice.action}")
            raise typer.Exit(EXIT_FAILED) from None


def open_artifact(store: str, reference: str) -> Artifact:
    """The artifact that a REF names; ends the command if there is none."""
    with refusals():
        return find_artifact(store, reference)


def find_artifact(store: str, reference: str) -> Artifact:
    """The artifact that a REF names. Raises `ArtifactMissing`."""
    found = find_store(store).open(reference)
    _OPENED.append(found)
    return found


def open_store(url: str) -> Store:
    """The store at a URL; ends the command if there is none."""
    with refusals():
        return find_store(url)


def find_store(url: str) -> Store:
    """The store at a URL. Raises `ArtifactMissing` for a missing folder, most likely a misspelt
    path, and `RecipeError` for a password in the URL.
    """
    from infra.store import ArtifactMissing

    store = store_at(url)
    if not store.root.is_store():
        where = store.root.local_root or store.root.url
        raise ArtifactMissing(
            f"there is no store at {where}; name yours with --store, or set PUNA_STORE"
        )
    return store


def store_at(url: str) -> Store:
    """The store at a URL, made or not. Raises `RecipeError` for a password in the URL."""
    from flows.recipe.file import RecipeError
    from flows.recipe.secrets import ADVICE
    from infra.secrets import secret_in
    from infra.store import Store

    if what := secret_in(url):
        raise RecipeError([f"--store: holds {what}, and {ADVICE}"])
    return Store.at(url)


def find_input(store: Store, given: InputReference) -> Artifact:
    """The artifact that a manifest names as an input."""
    from infra.store import ArtifactMissing

    found = store.find(given.stage, given.name, given.version)
    if found is None:
        raise ArtifactMissing(
            f"{given.identity} is no longer in the store; run its recipe again to read it"
        )
    _OPENED.append(found)
    return found


def _once(option: str, given: list[str] | None) -> str | None:
    """The value of an option that may be given once."""
    from infra.stage import StageError

    if given and len(given) > 1:
        raise StageError(
            f"{option} is given {len(given)} times ({', '.join(given)}); give it once, or name the "
            "stages with --only"
        )
    return given[0] if given else None


def read_request(
    recipe: Path,
    set_: list[str] | None,
    store: str | None,
    only: list[str] | None,
    from_stage: list[str] | None,
    until_stage: list[str] | None,
    force: list[str] | None,
    pin: list[str] | None,
) -> RunRequest:
    """The options of a command as one request; ends the command if --pin is malformed, or --from or
    --until is given twice.
    """
    from flows.planning.request import RunRequest

    with refusals():
        return RunRequest.of(
            recipe,
            set_,
            store,
            only=only,
            from_stage=_once("--from", from_stage),
            until_stage=_once("--until", until_stage),
            force=force,
            pin=pin,
        )
