"""Suites: the benchmarks of a published table, asked as its authors did, and their figures.

A suite is a YAML file beside this module. It says for each task the data set (`datasets.yaml`),
shots, protocols, metric and prompt, and has the published figures in percent, with their source and
what differs from it here (`remarks`).
"""

from __future__ import annotations

import functools
import glob
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_HERE = Path(__file__).parent
_NO_SUITES = ("checksums", "datasets")


@dataclass(frozen=True)
class Suite:
    """A suite as its file has it. `bos`: whether prompts begin with it, see `Benchmark`; `tasks`:
    task -> its data set (`data`) and fields of a `Benchmark`; `published`: system -> task ->
    percent.
    """

    name: str
    summary: str
    source: str
    remarks: tuple[str, ...]
    bos: str
    tasks: Mapping[str, Mapping[str, Any]]
    published: Mapping[str, Mapping[str, float]]

    def figures(self, task: str) -> dict[str, float]:
        """System -> its published score of a task, as a share."""
        return {
            system: scores[task] / 100
            for system, scores in self.published.items()
            if task in scores
        }


@dataclass(frozen=True)
class DataSet:
    """Where a data set comes from and how it lies in a folder.

    `items`: its published number; None where none is. `checksums`: end of a path -> sha256.
    """

    format: str
    language: str
    items: int | None
    get: str
    layouts: tuple[Mapping[str, tuple[str, ...]], ...]
    checksums: Mapping[str, str]


@functools.cache
def names() -> tuple[str, ...]:
    """The names of all suites."""
    return tuple(sorted(path.stem for path in _HERE.glob("*.yaml") if path.stem not in _NO_SUITES))


@functools.cache
def suite(name: str) -> Suite:
    """The suite of that name; `KeyError` if there is none."""
    if name not in names():
        raise KeyError(name)
    found = _read(name)
    return Suite(name, **{**found, "remarks": tuple(found["remarks"])})


def data_names() -> tuple[str, ...]:
    """The names of all data sets."""
    return tuple(_read("datasets"))


@functools.cache
def data_set(name: str) -> DataSet:
    """The data set of that name."""
    found = _read("datasets")[name]
    layouts = tuple(
        {kind: tuple(paths) for kind, paths in layout.items()} for layout in found["layouts"]
    )
    checksums = _read("checksums").get(name, {})
    return DataSet(
        found["format"],
        found.get("language", ""),
        found.get("items"),
        found["get"],
        layouts,
        checksums,
    )


@functools.cache
def _read(stem: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((_HERE / f"{stem}.yaml").read_text(encoding="utf-8"))
    return found


def data_of(suite_name: str, task: str) -> DataSet | None:
    """The data set of a suite's task; None for a task that the suite does not have."""
    task_ = suite(suite_name).tasks.get(task) if suite_name in names() else None
    return data_set(task_["data"]) if task_ else None


def benchmark(name: str, task: str, folder: str) -> tuple[dict[str, Any], str]:
    """(the fields of a task's `Benchmark`, with files below `folder`; what is missing there, and
    where to get it, "" for nothing).

    Of a folder that is not on this machine, the first layout is taken.
    """
    fields = dict(suite(name).tasks[task])
    data = data_set(fields.pop("data"))
    shots = fields.get("shots", 0)
    usable = [layout for layout in data.layouts if not shots or "dev" in layout]
    needed = [[*layout["paths"], *(layout["dev"] if shots else ())] for layout in usable]
    missing = [_missing(folder, patterns) for patterns in needed]
    complete = next((index for index, lacks in enumerate(missing) if not lacks), None)
    problem = ""
    if complete is None:
        ways = " or ".join(f"({', '.join(patterns)})" for patterns in needed)
        begun = [
            lacks
            for lacks, patterns in zip(missing, needed, strict=True)
            if len(lacks) < len(patterns)
        ]
        lacking = f" (missing: {', '.join(begun[0])})" if begun else ""
        problem = f"{task} needs {ways}{lacking}; get {data.get}"
    chosen = usable[complete or 0]
    files = {"paths": [f"{folder}/{path}" for path in chosen["paths"]]}
    if shots:
        files["dev"] = [f"{folder}/{path}" for path in chosen["dev"]]
    language = {"language": data.language} if data.language else {}
    policy = {"bos": suite(name).bos, "suite": name}
    return {"format": data.format, **language, **files, **policy, **fields}, problem


def _missing(folder: str, patterns: list[str]) -> list[str]:
    if "://" in folder:
        return []
    return [pattern for pattern in patterns if not glob.glob(f"{glob.escape(folder)}/{pattern}")]
