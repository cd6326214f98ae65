"""A data set's name, configuration and split -> the files that hold it, at one commit.

The hub's own rules decide (README's `configs:`, or names of files and folders): `datasets` applies
them, but only to the configuration that is wanted, so that FineWeb's sample does not cost a listing
of its 25,000 files. No code of a repository is ever run.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infra.io.files import replace_bytes
from infra.remote import hub
from infra.remote.errors import NoSuchObject, Unreachable
from infra.remote.hub_errors import explained
from infra.remote.hub_names import Repository, nearest, shortened
from infra.stage import Pin, StageError

README, STANDALONE = "README.md", ".huggingface.yaml"
_LISTED = 1_000
"""Files shown to `datasets` of a cached commit are made as empty files; more are not worth it."""


@dataclass(frozen=True)
class Wanted:
    """What a recipe says of a data set; "" and () for what it does not say."""

    dataset: str
    name: str = ""
    split: str = ""
    revision: str = ""
    data_files: tuple[str, ...] = ()


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
        found = _resolved(repository, wanted, _online(repository))
    except Unreachable as error:
        cached = _cached(repository)
        if cached is None:
            raise
        try:
            found = _resolved(repository, wanted, cached)
        except NoSuchObject:
            raise error from None
    replace_bytes(file, json.dumps(found.to_json()).encode())
    return found


def _key(wanted: Wanted) -> str:
    return hashlib.sha256(json.dumps(vars(wanted), sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class _Source:
    """Where a commit's files are looked up: on the hub, or in the hub's cache on this machine.

    `base` is what `datasets` resolves patterns against; `pins` makes the pins of what it finds.
    """

    base: str
    read: Callable[[str], str | None]
    pins: Callable[[Sequence[str]], list[Pin]]
    top: Callable[[], list[str]]


def _online(repository: Repository) -> _Source:
    import huggingface_hub

    base = f"hf://datasets/{repository.id}@{repository.revision}"
    name = repository.id.rpartition("/")[2]
    with explained(repository):
        known = huggingface_hub.HfApi().get_paths_info(
            repository.id,
            [README, STANDALONE, f"{name}.py"],
            repo_type="dataset",
            revision=repository.revision,
        )
    there = {info.path for info in known}
    if f"{name}.py" in there:
        raise StageError(
            f"data set {repository.id} is loaded by a script of its own ({name}.py), which is "
            "never run. Most such data sets have a copy in Parquet, made by the hub: set revision: "
            "refs/convert/parquet and data_files: [CONFIGURATION/SPLIT/*.parquet]"
        )

    def read(path: str) -> str | None:
        if path not in there:
            return None
        with explained(repository):
            local = huggingface_hub.hf_hub_download(
                repository.id, path, repo_type="dataset", revision=repository.revision
            )
        return Path(local).read_text(encoding="utf-8")

    def pins(paths: Sequence[str]) -> list[Pin]:
        files = huggingface_hub.HfFileSystem()
        found = []
        for path in paths:
            info = files.info(f"datasets/{repository.id}@{repository.revision}/{path}")
            lfs = info.get("lfs")
            found.append(
                Pin(
                    f"{base}/{path}",
                    path,
                    lfs.sha256 if lfs else "",
                    info["size"],
                    "" if lfs else info["blob_id"],
                )
            )
        return found

    def top() -> list[str]:
        files = huggingface_hub.HfFileSystem()
        root = f"datasets/{repository.id}@{repository.revision}"
        return [str(path).removeprefix(f"{root}/") for path in files.ls(root, detail=False)]

    return _Source(base, read, pins, top)


def _cached(repository: Repository) -> _Source | None:
    """What `hf download` has left of this commit, where it has left a listing as well."""
    import huggingface_hub
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        tree = huggingface_hub.get_cached_repo_tree(
            repository.id, repo_type="dataset", revision=repository.revision
        )
    except CachedRepoTreeNotFoundError:
        return None
    sizes = {file.path: file.size for file in tree}
    folder = tempfile.TemporaryDirectory()
    for path in sizes:
        (Path(folder.name) / path).parent.mkdir(parents=True, exist_ok=True)
        (Path(folder.name) / path).touch()

    def local(path: str) -> Path | None:
        found = huggingface_hub.try_to_load_from_cache(
            repository.id, path, repo_type="dataset", revision=repository.revision
        )
        return Path(found) if isinstance(found, str) else None

    def read(path: str) -> str | None:
        if path not in sizes:
            return None
        if (found := local(path)) is None:
            raise Unreachable(
                f"{path} of the {repository} is not in the hub's local cache, and the hub "
                "cannot be reached"
            )
        return found.read_text(encoding="utf-8")

    def pins(paths: Sequence[str]) -> list[Pin]:
        missing = [path for path in paths if local(path) is None]
        if missing:
            raise Unreachable(
                f"the hub cannot be reached, and of the {len(paths):,} files wanted of the "
                f"{repository} {len(missing):,} are not in its local cache: {shortened(missing)}"
            )
        found = []
        for path in paths:
            name = Path(os.path.realpath(local(path) or "")).name  # LFS's sha256, or the blob id
            sha256 = name if len(name) == 64 else ""
            etag = "" if sha256 else name
            found.append(
                Pin(
                    f"hf://datasets/{repository.id}@{repository.revision}/{path}",
                    path,
                    sha256,
                    sizes[path],
                    etag,
                )
            )
        return found

    def top() -> list[str]:
        _ = folder  # lives as long as what reads it
        return sorted({path.partition("/")[0] for path in sizes})

    return _Source(folder.name, read, pins, top)


def _resolved(repository: Repository, wanted: Wanted, source: _Source) -> Layout:
    from datasets.data_files import (
        DataFilesDict,
        EmptyDatasetError,
        get_data_patterns,
        sanitize_patterns,
    )
    from datasets.load import infer_module_for_data_files
    from datasets.packaged_modules import _ALL_ALLOWED_EXTENSIONS, _MODULE_TO_EXTENSIONS

    card = _card(source)
    name, options = _configuration(repository, wanted, card)
    folder = str(options.pop("data_dir", "") or "").strip("/")
    base = f"{source.base}/{folder}" if folder else source.base
    with _Quiet(), explained(repository):
        try:
            if wanted.data_files:
                patterns = {wanted.split or "train": list(wanted.data_files)}
            elif (stated := options.pop("data_files", None)) is not None:
                patterns = sanitize_patterns(stated)
            else:
                patterns = get_data_patterns(base)
        except EmptyDatasetError:
            raise _empty(repository, source) from None
        options.pop("data_files", None)
        split = _split(repository, wanted, name, list(patterns))
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


def _empty(repository: Repository, source: _Source) -> NoSuchObject:
    return NoSuchObject(
        f"the {repository} has no data files of a kind that is known; it has "
        f"{shortened(source.top())}. Name files with data_files"
    )


def _card(source: _Source) -> Any:
    """`configs:` of README, and of the file that may stand in for it."""
    import yaml
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCardData
    from huggingface_hub.repocard import DatasetCard

    readme = source.read(README)
    data: Any = DatasetCard(readme, ignore_metadata_errors=True).data if readme else None
    data = data or DatasetCardData()
    if standalone := yaml.safe_load(source.read(STANDALONE) or ""):
        data = DatasetCardData(**{**data.to_dict(), **standalone})
    return MetadataConfigs.from_dataset_card_data(data)


_NO_OPTIONS = {"default", "features", "version", "description", "drop_labels"}


def _configuration(
    repository: Repository, wanted: Wanted, configurations: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """(name of the configuration, what README says of it)."""
    known = list(configurations)
    if wanted.data_files and not wanted.name:
        return "", {}
    if not known:
        if wanted.name not in ("", "default"):
            raise NoSuchObject(
                f"the {repository} has no configurations, so none named {wanted.name!r}; remove "
                "name, or choose files with data_files"
            )
        return "default", {}
    name = wanted.name or configurations.get_default_config_name()  # type: ignore[attr-defined]
    if name is None:
        raise NoSuchObject(
            f"the {repository} has {len(known)} configurations; name one of {shortened(known)}"
        )
    if name not in configurations:
        raise NoSuchObject(
            f"the {repository} has no configuration {name!r}{nearest(name, known)}; it has "
            f"{shortened(known)}"
        )
    found = configurations[name]
    return name, {key: value for key, value in found.items() if key not in _NO_OPTIONS}


def _split(repository: Repository, wanted: Wanted, name: str, known: list[str]) -> str:
    known = [str(split) for split in known]
    what = f"configuration {name!r} of the {repository}" if name else f"the {repository}"
    if wanted.split in known:
        return wanted.split
    if wanted.split:
        raise NoSuchObject(
            f"{what} has no split {wanted.split!r}{nearest(wanted.split, known)}; it has "
            f"{shortened(known)}"
        )
    if len(known) == 1 or "train" in known:
        return "train" if "train" in known else known[0]
    raise NoSuchObject(f"{what} has {len(known)} splits; name one of {shortened(known)}")


class _Quiet:
    """No progress bars of `datasets` while it looks up files."""

    def __enter__(self) -> None:
        from datasets.utils import disable_progress_bars

        disable_progress_bars()

    def __exit__(self, *_: object) -> None:
        from datasets.utils import enable_progress_bars

        enable_progress_bars()
