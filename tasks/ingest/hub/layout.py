"""A data set's name, configuration and split -> the files that hold it, at one commit.

The hub's own rules decide (README's `configs:`, or names of files and folders): `datasets` applies
them, but only to the configuration that is wanted, so that FineWeb's sample does not cost a listing
of its 25,000 files. No code of a repository is ever run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infra.io.files import replace_bytes
from infra.remote import hub
from infra.remote.errors import NoSuchObject, Unreachable
from infra.remote.hub_errors import explained
from infra.remote.hub_names import Repository, nearest, shortened
from infra.stage import Pin, StageError
from tasks.ingest.hub.commit_files import README, CommitFiles, cached, online
from tasks.ingest.hub.configuration import (
    Wanted,
    card_of,
    configuration_of,
    require_own,
    split_of,
)


@dataclass(frozen=True)
class Layout:
    """The files of a split at a commit, and how they are read.

    `module`: `datasets`' name of the layout: "parquet", "json", "text", "csv" ... `options`: what
    README says of reading it beyond its files (a separator, say).
    """

    dataset: str
    commit: str
    name: str
    split: str
    module: str
    options: Mapping[str, Any]
    files: tuple[Pin, ...]
    card: Pin | None = None
    """README, where what it says of reading decides what is read."""

    def to_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        files = [pin.to_json() for pin in self.files]
        return {**vars(self), "files": files, "card": self.card.to_json() if self.card else None}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Layout:
        """`KeyError` or `TypeError` for anything else."""
        files, card = tuple(map(Pin.from_json, found["files"])), found["card"]
        return cls(**{**found, "files": files, "card": Pin.from_json(card) if card else None})


def memory() -> Path:
    """Where layouts are remembered by commit; safe to delete."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "puna" / "hub"


def layout_of(wanted: Wanted) -> Layout:
    """The files of what a recipe wants.

    Raises `NoSuchObject` (data set, revision, configuration, split or file, with what there is),
    `Denied` (a login or gate), `Unreachable`, and `StageError` for data sets of code.
    """
    if wanted.dataset.count("/") != 1:
        raise StageError(
            f"dataset: {wanted.dataset!r} is no name on the hub, which is ORG/NAME, such as "
            "HuggingFaceFW/fineweb"
        )
    repository = hub.at_commit(Repository("dataset", wanted.dataset, wanted.revision or "main"))
    file = memory() / f"{_key(replace(wanted, revision=repository.revision))}.json"
    try:
        return Layout.from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        found = _resolved(repository, wanted, online(repository))
    except Unreachable as error:
        here = cached(repository)
        if here is None:
            raise
        try:
            found = _resolved(repository, wanted, here)
        except NoSuchObject:
            raise error from None
    replace_bytes(file, json.dumps(found.to_json()).encode())
    return found


def _key(wanted: Wanted) -> str:
    return hashlib.sha256(json.dumps(vars(wanted), sort_keys=True).encode()).hexdigest()[:32]


def _resolved(repository: Repository, wanted: Wanted, source: CommitFiles) -> Layout:
    from datasets.data_files import (
        DataFilesDict,
        EmptyDatasetError,
        get_data_patterns,
        sanitize_patterns,
    )
    from datasets.load import infer_module_for_data_files
    from datasets.packaged_modules import _ALL_ALLOWED_EXTENSIONS, _MODULE_TO_EXTENSIONS

    by_files = wanted.data_files and not wanted.name  # whatever its card says
    card = {} if by_files else card_of(repository, source)
    name, options = configuration_of(repository, wanted, card)
    folder = str(options.pop("data_dir", "") or "").strip("/")
    require_own(repository, [folder])
    base = f"{source.base}/{folder}" if folder else source.base
    with _Quiet(), explained(repository):
        try:
            if wanted.data_files:
                patterns = {wanted.split or "train": list(wanted.data_files)}
            elif (stated := options.pop("data_files", None)) is not None:
                patterns = sanitize_patterns(stated)
                require_own(repository, (str(p) for found in patterns.values() for p in found))
            else:
                patterns = get_data_patterns(base)
        except EmptyDatasetError:
            raise _empty(repository, source) from None
        options.pop("data_files", None)
        split = split_of(repository, wanted, name, list(patterns))
        try:
            files = DataFilesDict.from_patterns(
                {split: patterns[split]}, base_path=base, allowed_extensions=_ALL_ALLOWED_EXTENSIONS
            )
        except FileNotFoundError:
            files = DataFilesDict({split: []})
        if not files[split]:
            stated = shortened([str(pattern) for pattern in patterns[split]])
            if not wanted.data_files and stated == "**":
                raise _empty(repository, source)
            first, top = str(patterns[split][0]).split("/")[0], source.top()
            near = "" if first in top else nearest(first, top)
            raise NoSuchObject(
                f"no file of the {repository} matches {stated}{near}; at its top it has "
                f"{shortened(source.top())}"
            )
        module, defaults = infer_module_for_data_files(files, path=wanted.dataset)
    fitting = tuple(_MODULE_TO_EXTENSIONS[module])
    paths = [
        path.removeprefix(f"{source.base}/")
        for path in files[split]
        if any(f".{part}" in fitting for part in Path(path).name.split(".")[1:])
    ]
    pins = source.pins(list(dict.fromkeys(paths)))
    card_pin = source.pins([README])[0] if options else None
    return Layout(
        wanted.dataset,
        repository.revision,
        name,
        split,
        module,
        {**defaults, **options},
        tuple(pins),
        card_pin,
    )


def _empty(repository: Repository, source: CommitFiles) -> NoSuchObject:
    return NoSuchObject(
        f"the {repository} has no data files of a kind that is known; it has "
        f"{shortened(source.top())}. Name files with data_files"
    )


class _Quiet:
    """No progress bars of `datasets` while it looks up files."""

    def __enter__(self) -> None:
        from datasets.utils import disable_progress_bars

        disable_progress_bars()

    def __exit__(self, *_: object) -> None:
        from datasets.utils import enable_progress_bars

        enable_progress_bars()
