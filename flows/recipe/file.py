"""Reads a recipe's file: YAML with `extends`, `${VARIABLE:-default}` and `-s key=value`.

The result is plain data and the file and line of every value. Errors of the models can then name a
line, and paths can be resolved relative to the recipe that states them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from infra.io.files import special_kind
from infra.secrets import redacted

KeyPath = tuple[str | int, ...]
"""Keys and list indices from the top of the recipe down to a value."""

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_OVERRIDE = "-s"

MOST_BYTES, MOST_VALUES, MOST_LEVELS = 1_000_000, 100_000, 50
"""Far beyond any recipe: a file that has more of one is something else, or an attack."""


class RecipeError(Exception):
    """A recipe that cannot be run. Each problem names file, line, value and what is allowed; of a
    value that is a secret, what it is.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(redacted(problem) for problem in problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True)
class Place:
    """Where a value was written."""

    file: str
    line: int = 0

    @property
    def folder(self) -> Path:
        """The folder that relative paths start from: the file's; for overrides, the working
        directory.
        """
        return Path.cwd() if self.file == _OVERRIDE else Path(self.file).parent

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass
class YamlDocument:
    """Plain data of a recipe, and where each value was written.

    `replaced`: paths of values that replaced a value of an extended recipe.
    """

    data: dict[str, Any]
    places: dict[KeyPath, Place] = field(default_factory=dict)
    replaced: set[KeyPath] = field(default_factory=set)

    def place(self, path: KeyPath) -> Place:
        """The place of a value, or else of the closest map or list around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return Place("recipe")


def load(file: Path, overrides: Sequence[str] = ()) -> YamlDocument:
    """Read a recipe and what it extends, and apply `key=value` overrides. Raises `RecipeError`.

    Nulls stay in the data: what each of them means depends on the models (`flows.recipe.nulls`).
    """
    document = _load(file, ())
    for override in overrides:
        _apply_override(document, override)
    document.data.pop("extends", None)
    return document


def _load(file: Path, above: tuple[Path, ...]) -> YamlDocument:
    file = file.resolve()
    if file in above:
        chain = " -> ".join(str(f) for f in (*above, file))
        raise RecipeError([f"{file}: extends itself: {chain}; remove one `extends`"])
    text = _text_of(file)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        raise RecipeError(
            [f"{Place(str(file), line)}: is not YAML: {error.problem or error.context}"]
        ) from None
    except yaml.YAMLError as error:
        raise RecipeError([f"{file}: is not YAML: {error}"]) from None
    except RecursionError:
        raise RecipeError([_too_deep(Place(str(file)))]) from None
    document = YamlDocument({})
    if not isinstance(node, yaml.MappingNode):
        raise RecipeError(
            [f"{file}: a recipe is a map of sections such as `sources:`, and this file is not one"]
        )
    document.data = _build(node, (), str(file), document.places)
    parent = document.data.get("extends")
    if parent is None:
        return document
    if not isinstance(parent, str):
        raise RecipeError(
            [f"{document.place(('extends',))}: extends: {parent!r} is not the path of a recipe"]
        )
    base = _load(file.parent / parent, (*above, file))
    _merge(base, document)
    return base


def _text_of(file: Path) -> str:
    try:
        if kind := special_kind(file):
            raise RecipeError([f"{file}: {kind}; name a recipe"])
        if (size := file.stat().st_size) > MOST_BYTES:
            limit = f"a recipe has at most {MOST_BYTES:,}; is this its data?"
            raise RecipeError([f"{file}: has {size:,} bytes, {limit}"])
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(
            [
                f"{file}: cannot be read ({error.strerror}); name an existing recipe, such as "
                f"{_nearby(file)}"
            ]
        ) from None
    except UnicodeDecodeError as error:
        raise RecipeError(
            [f"{file}: is not UTF-8 at byte {error.start}; save it as UTF-8"]
        ) from None


def _too_deep(place: Place) -> str:
    return (
        f"{place}: is nested deeper than {MOST_LEVELS} levels, or an alias holds itself; write the "
        "values out"
    )


def _nearby(file: Path) -> str:
    folder = file.parent if file.parent.is_dir() else Path("configs")
    return ", ".join(str(f) for f in sorted(folder.glob("*.yaml"))[:5]) or "configs/demo.yaml"


def _build(node: yaml.Node, path: KeyPath, file: str, places: dict[KeyPath, Place]) -> Any:
    places[path] = place = Place(file, node.start_mark.line + 1)
    if len(path) > MOST_LEVELS:
        raise RecipeError([_too_deep(place)])
    if len(places) > MOST_VALUES:
        raise RecipeError(
            [f"{place}: aliases make more than {MOST_VALUES:,} values of it; write the values out"]
        )
    if isinstance(node, yaml.MappingNode):
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _scalar(key_node, file)
            key = key if isinstance(key, str) else str(key_node.value)
            if key in data:
                raise RecipeError(
                    [
                        f"{Place(file, key_node.start_mark.line + 1)}: {key!r} is given twice "
                        "in one map; remove one"
                    ]
                )
            here, key_place = (*path, key), Place(file, key_node.start_mark.line + 1)
            if (
                isinstance(value_node, yaml.ScalarNode)
                and not value_node.value
                and value_node.style is None
            ):
                allowed = "a value, {} for a section with its defaults, or null to leave it out"
                raise RecipeError([f"{key_place}: {dotted(here)}: is empty; write {allowed}"])
            data[key] = _build(value_node, here, file, places)
            places[here] = key_place
        return data
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*path, index), file, places) for index, item in enumerate(node.value)]
    return _scalar(node, file)


def _scalar(node: yaml.Node, file: str) -> Any:
    if not isinstance(node, yaml.ScalarNode):
        raise RecipeError([f"{Place(file, node.start_mark.line + 1)}: a key must be a plain word"])
    if node.tag == "tag:yaml.org,2002:timestamp":
        return str(node.value)
    try:
        value = yaml.SafeLoader("").construct_object(node)
    except (yaml.YAMLError, ValueError, KeyError) as error:  # `!!bool maybe` is a KeyError
        raise RecipeError(
            [f"{Place(file, node.start_mark.line + 1)}: {node.value[:60]!r}: {error}"]
        ) from None
    if isinstance(value, str):
        return _expand(value, Place(file, node.start_mark.line + 1))
    return value


def _expand(text: str, place: Place) -> str:
    def replacement(match: re.Match[str]) -> str:
        name, default = match.groups()
        value = os.environ.get(name, default)
        if value is None:
            raise RecipeError(
                [
                    f"{place}: the environment variable {name} is not set; set it, or write "
                    f"${{{name}:-default}}"
                ]
            )
        return value

    return _VARIABLE.sub(replacement, text)


def _merge(base: YamlDocument, over: YamlDocument) -> None:
    """Deep-merge `over` into `base`: maps merge, all else replaces."""

    def forget(path: KeyPath) -> None:
        for known in [known for known in base.places if known[: len(path)] == path]:
            del base.places[known]

    def merge(into: dict[str, Any], data: Mapping[str, Any], path: KeyPath) -> None:
        for key, value in data.items():
            here = (*path, key)
            if isinstance(value, dict) and isinstance(into.get(key), dict):
                base.places[here] = over.places[here]
                merge(into[key], value, here)
            else:
                forget(here)
                if into.get(key) is not None:
                    base.replaced.add(here)
                into[key] = value
                base.places.update(
                    {p: place for p, place in over.places.items() if p[: len(here)] == here}
                )

    merge(base.data, over.data, ())


def _apply_override(document: YamlDocument, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError(
            [f"-s {override}: write key=value, such as -s training.optimizer.lr=1e-4"]
        )
    if not text.strip():
        allowed = f"a value, {key}=null to leave it out, or {key}='\"\"' for empty text"
        raise RecipeError([f"-s {override}: is empty; write {allowed}"])
    value = _override_value(override, key.strip(), text)
    steps = key.strip().split(".")
    if not all(steps):
        raise RecipeError(
            [f"-s {override}: {key!r} has an empty part; write keys with dots between"]
        )
    if steps == ["extends"]:
        raise RecipeError(
            [
                f"-s {override}: extends cannot be overridden; write a recipe with "
                f"`extends: {text.strip()}`, and this one's changes below it"
            ]
        )
    data: Any = document.data
    path: KeyPath = ()
    while steps:
        if isinstance(data, list):
            index = _index(data, steps.pop(0), override)
            path = (*path, index)
            if not steps:
                data[index] = value
            data = data[index]
        elif isinstance(data, dict):
            step = _key(data, steps)
            path = (*path, step)
            if not steps:
                if data.get(step) is not None:
                    document.replaced.add(path)
                data[step] = value
            elif data.get(step) is None:
                data[step] = {}
                document.places[path] = Place(_OVERRIDE)
            data = data[step]
        else:
            where = ".".join(map(str, path))
            problem = f"{where} is {data!r}, which has no {steps[0]!r} inside; set {where} itself"
            raise RecipeError([f"-s {override}: {problem}"])
    for known in [known for known in document.places if known[: len(path)] == path]:
        del document.places[known]
    document.places[path] = Place(_OVERRIDE)


def _override_value(override: str, key: str, text: str) -> Any:
    """The value after `=`, read like a value in a recipe (dates are text, a key may occur once,
    variables are replaced). Invalid YAML is text.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return _expand(text, Place(_OVERRIDE))
    except RecursionError:
        raise RecipeError([_too_deep(Place(_OVERRIDE))]) from None
    try:
        return None if node is None else _build(node, (key,), _OVERRIDE, {})
    except RecipeError as error:
        problems = [problem.partition(": ")[2] for problem in error.problems]
        raise RecipeError([f"-s {override}: {problem}" for problem in problems]) from None


def _key(data: Mapping[str, Any], steps: list[str]) -> str:
    """Remove the next key from `steps`: the longest that exists, as keys may contain dots (a rule
    such as gopher.stop_words).
    """
    words = next((n for n in range(len(steps), 1, -1) if ".".join(steps[:n]) in data), 1)
    key = ".".join(steps[:words])
    del steps[:words]
    return key


def _index(items: Sequence[Any], step: str, override: str) -> int:
    if step.isascii() and step.isdecimal() and int(step) < len(items):
        return int(step)
    names = [item.get("name") for item in items if isinstance(item, dict)]
    if step in names:
        return names.index(step)
    allowed = ", ".join(str(name) for name in names if name) or f"0 to {len(items) - 1}"
    raise RecipeError([f"-s {override}: {step!r} is not in that list; it has: {allowed}"])


def dotted(path: Iterable[str | int]) -> str:
    """`("training", "phases", 0, "lr")` -> `training.phases.0.lr`."""
    return ".".join(str(step) for step in path)
