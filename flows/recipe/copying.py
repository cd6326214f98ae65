"""Copies of the recipes that come with Puna, with a user's own files and base in them.

The text is kept as it is, comments and all: only the values that change are replaced, at the
places where YAML found them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Any

import yaml

from flows.recipe.errors import nearest
from flows.recipe.file import KeyPath, RecipeError

RECIPES = Path(__file__).resolve().parents[2] / "configs"

_OWN_DATA = re.compile(r"demo|real|.*-small")
"""Recipes on data of their own, which a copy could not find."""

_FORMATS = {".warc": "warc", ".wet": "wet", ".parquet": "parquet", ".txt": "text"}
_COMPRESSED = re.compile(r"\.(gz|zst|bz2|xz|lz4)$")


def names() -> list[str]:
    """The recipes that can be copied, such as `adapt` and `tinyllama/base`."""
    found = (file.relative_to(RECIPES).with_suffix("") for file in RECIPES.rglob("*.yaml"))
    return sorted(name.as_posix() for name in found if not _OWN_DATA.match(name.name))


def copies(name: str, file: Path, files_of: Mapping[str, str], base: str) -> dict[Path, str]:
    """The files of a copy: the recipe as `file`, and beside it those that it extends.

    Args:
        name: one of `names()`, such as `tinyllama/chinese`.
        file: the copy, which gives the recipe its name.
        files_of: source -> its files, a path or pattern relative to the working directory.
        base: a folder, or a name of the hub; "" leaves the recipe's.

    Raises:
        RecipeError: no such recipe or source, or no base to replace.
    """
    texts = _texts(name, file)
    for source, pattern in files_of.items():
        stated = _stated(texts, source)
        value = _ingest(file.parent, pattern, stated)
        if name_of := _only_category(stated.get("category")):
            _replace(texts, ("sources", source, "category"), name_of)
        if not _replace(texts, ("sources", source, "ingest"), value):
            known = sources(name)
            near = nearest(source, list(known))
            raise RecipeError(
                [f"recipe {name} has no source {source!r}{near}; it has: {', '.join(known)}"]
            )
    if base:
        if not base_of(name):
            raise RecipeError([f"recipe {name} trains from scratch: there is no base to replace"])
        value = _seen_from(file.parent, base) if Path(base).exists() else base
        for section in ("tokenizer", "model"):
            _replace(texts, (section, "base"), value)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("-._") or "recipe"
    texts[file] = rewritten(texts[file], {("name",): stem})
    return texts


def _stated(texts: Mapping[Path, str], source: str) -> dict[str, Any]:
    """A source as the first text that has it states it; {} for none."""
    for text in texts.values():
        if found := (yaml.safe_load(text).get("sources") or {}).get(source):
            return dict(found)
    return {}


def _ingest(folder: Path, pattern: str, stated: Mapping[str, Any]) -> str:
    """The section `ingest` of a user's own files. Where the recipe reads questions, fields are left
    to what ingest finds: ColossalAI's `source` and `target`, or a text alone.
    """
    format = format_of(pattern)
    value = f'{{format: {format}, paths: ["{_seen_from(folder, pattern)}"]'
    asks = "prompt" in ((stated.get("ingest") or {}).get("fields") or {})
    with_fields = format in ("jsonl", "parquet") and not asks
    return value + (", fields: {text: text}}" if with_fields else "}")


def _only_category(category: object) -> str:
    """The category that all records get which a field sorts, as a user's own have other values in
    it; "" where there are several, or no field.
    """
    if not isinstance(category, Mapping) or "field" not in category:
        return ""
    of = category.get("of")
    names = {*(of.values() if isinstance(of, Mapping) else of or ())}
    if rest := category.get("rest"):
        names.add(rest)
    return str(names.pop()) if len(names) == 1 else ""


def to_be_named(texts: Mapping[Path, str]) -> list[str]:
    """What copies name that is not there: a source's files, a base that is a folder, in words."""
    found = []
    for file, text in texts.items():
        data = yaml.safe_load(text)
        for source, section in (data.get("sources") or {}).items():
            for path in ((section or {}).get("ingest") or {}).get("paths") or ():
                if "://" not in path and not glob(str(file.parent / path), recursive=True):
                    found.append(f"{path} (source {source})")
        base = (data.get("model") or {}).get("base")
        if base and "/" not in base and not (file.parent / base).exists():
            found.append(f"{base} (the base)")
    return found


def sources(name: str) -> dict[str, str]:
    """The recipe's sources, and what each of them reads."""
    found: dict[str, str] = {}
    for text in _texts(name, Path("copy.yaml")).values():
        stated = yaml.safe_load(text).get("sources") or {}
        for source, section in stated.items():
            ingest = section.get("ingest") or {}
            read = ingest.get("dataset") or ingest.get("crawl") or ingest.get("paths") or ""
            found.setdefault(source, ", ".join(read) if isinstance(read, list) else str(read))
    return found


def base_of(name: str) -> str:
    """The base that the recipe names; "" where it makes a model of its own."""
    for text in _texts(name, Path("copy.yaml")).values():
        if stated := (yaml.safe_load(text).get("model") or {}).get("base"):
            return str(stated)
    return ""


def format_of(pattern: str) -> str:
    """The format of files by their names; `jsonl` where these say nothing."""
    return _FORMATS.get(Path(_COMPRESSED.sub("", pattern)).suffix, "jsonl")


def rewritten(text: str, values: Mapping[KeyPath, str]) -> str:
    """A YAML text in which the values at these paths are replaced; a path that is not there is
    left out.
    """
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    places = {path: _find(node, path) for path in values}
    there = [(found, values[path]) for path, found in places.items() if found is not None]
    for found, value in sorted(there, key=lambda pair: -pair[0].start_mark.index):
        text = text[: found.start_mark.index] + value + text[_end(found) :]
    return text


def _texts(name: str, file: Path) -> dict[Path, str]:
    """The recipe's text and those of what it extends, by the names of their copies."""
    known = names()
    if name not in known:
        raise RecipeError(
            [f"there is no recipe {name!r}{nearest(name, known)}; there are: {', '.join(known)}"]
        )
    source = RECIPES / f"{name}.yaml"
    texts = {file: source.read_text(encoding="utf-8")}
    while parent := yaml.safe_load(texts[file]).get("extends"):
        source, beside = source.parent / parent, file.parent / parent
        if beside in texts:
            raise RecipeError(
                [
                    f"recipe {name} extends {parent}, which is copied beside it; name your copy "
                    "otherwise"
                ]
            )
        file = beside
        texts[file] = source.read_text(encoding="utf-8")
    return texts


def _replace(texts: dict[Path, str], path: KeyPath, value: str) -> bool:
    """Replace a value in the first text that states it; whether there is one."""
    for file, text in texts.items():
        if _find(yaml.compose(text, Loader=yaml.SafeLoader), path) is not None:
            texts[file] = rewritten(text, {path: value})
            return True
    return False


def _find(node: yaml.Node | None, path: Sequence[str | int]) -> yaml.Node | None:
    for step in path:
        if not isinstance(node, yaml.MappingNode):
            return None
        node = next((value for key, value in node.value if key.value == step), None)
    return node


def _end(node: yaml.Node) -> int:
    """Where a value's text ends; a block's own mark lies behind the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _seen_from(folder: Path, path: str) -> str:
    """A path of the working directory as the recipe in `folder` writes it; addresses stay."""
    if "://" in path or Path(path).is_absolute():
        return path
    return os.path.relpath(Path.cwd() / path, folder.resolve())
