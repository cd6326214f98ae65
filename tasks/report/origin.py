"""The sections on where everything is from: lineage, input files, environment, recipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from infra.quantities import counted, duration
from infra.store import Artifact
from tasks.report.blocks import Block, Cell, Code, Fold, Picture, Section, Text, section, table
from tasks.report.lineage import drawing
from tasks.report.notes import Inputs

FILES_SHOWN = 500
DIGEST_SHOWN = 12


def lineage(inputs: Inputs) -> Section | None:
    """What was made from what, drawn and as tables, down to the files read."""
    artifacts = all_artifacts(inputs)
    if not (drawn := drawing(artifacts)):
        return None
    rows = [
        (
            Cell(artifact.identity, code=True),
            Cell(
                " ".join(
                    f"{one.stage}/{one.name}"
                    for given in artifact.manifest.inputs.values()
                    for one in given
                )
                or "files",
                code=True,
            ),
            duration(artifact.manifest.seconds),
            Cell(artifact.manifest.run or "–", code=True),
        )
        for artifact in artifacts
    ]
    made = table("Artifacts", ["artifact", "made from", "#time", "run"], rows)
    blocks: list[Block] = [
        Text("Read from top to bottom; dashed boxes are of another recipe or an earlier run."),
        Picture(drawn),
        Fold(counted(len(artifacts), "artifact"), (made,)),
    ]
    if files := _files(artifacts):
        blocks.append(Fold(counted(len(files), "input file"), _file_blocks(files)))
    return section("Lineage", *blocks)


def all_artifacts(inputs: Inputs) -> list[Artifact]:
    """All artifacts of a run, in running order."""
    return [artifact for group in inputs.values() for artifact in group]


def _file_blocks(files: Sequence[Mapping[str, Any]]) -> tuple[Block, ...]:
    rows = [
        (
            Cell(file["name"], code=True),
            file["bytes"] if file["bytes"] >= 0 else "?",
            Cell((file["sha256"] or file.get("etag") or "by name")[:DIGEST_SHOWN], code=True),
            ", ".join(dict.fromkeys(file["readers"])),
        )
        for file in files[:FILES_SHOWN]
    ]
    found = table("Input files", ["file", "#bytes", "sha256", "read by"], rows)
    more = len(files) - FILES_SHOWN
    return (found, *([Text(f"{more:,} more: puna artifacts lineage.")] if more > 0 else []))


def _files(artifacts: Sequence[Artifact]) -> list[dict[str, Any]]:
    """Each input file of the run, listed once, with the artifacts that read it."""
    files: dict[tuple[str, str], dict[str, Any]] = {}
    for artifact in artifacts:
        for pins in artifact.manifest.pins.values():
            for pin in pins:
                entry = files.setdefault((pin.name, pin.identity), {**pin.to_json(), "readers": []})
                entry["readers"].append(f"{artifact.stage}/{artifact.name}")
    return list(files.values())


def environment(inputs: Inputs) -> Section | None:
    """The machines, code and libraries that built the artifacts; several where they differ."""
    artifacts = all_artifacts(inputs)
    if not artifacts:
        return None
    found: dict[str, Counter[str]] = {}
    libraries: dict[str, Counter[str]] = {}
    names = {"python": "Python", "platform": "platform", "processors": "CPUs"}
    for artifact in artifacts:
        known, code = artifact.manifest.environment, artifact.manifest.code
        for key, name in names.items():
            found.setdefault(name, Counter())[str(known.get(key, "?"))] += 1
        commit = (code.get("git_sha") or "no commit")[:DIGEST_SHOWN]
        changed = " with changes" if code.get("dirty") else ""
        found.setdefault("code", Counter())[f"{commit}{changed}"] += 1
        for name, version in known.get("libraries", {}).items():
            libraries.setdefault(name, Counter())[str(version)] += 1
    rows = [(name, _values(values)) for name, values in found.items()]
    versions = [(name, _values(values)) for name, values in sorted(libraries.items())]
    listed = table("Libraries", ["name", "version"], versions, compact=True)
    blocks: list[Block] = [table("Built by", ["what", "value"], rows, compact=True)]
    if versions:
        blocks.append(Fold(f"{len(versions)} libraries", (listed,)))
    return section("Environment", *blocks)


def _values(counts: Counter[str]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(
        f"{value} ({counted(number, 'artifact')})" for value, number in counts.most_common()
    )


def recipe(stated: Mapping[str, Any]) -> Section | None:
    """The recipe as it was read, with defaults."""
    if not stated:
        return None
    import yaml

    text = yaml.safe_dump(dict(stated), sort_keys=False, allow_unicode=True, width=96)
    lines = f"{counted(text.count(chr(10)), 'line')}, with defaults filled in"
    return section("Recipe", Fold(lines, (Code(text, "The recipe"),)))
