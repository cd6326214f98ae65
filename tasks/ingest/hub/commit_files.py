"""Where the files of a data set's commit are looked up: on the hub, or in the hub's cache on this
machine.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.remote.errors import Unreachable
from infra.remote.hub_errors import explained
from infra.remote.hub_names import Repository, shortened
from infra.stage import Pin, StageError

README, STANDALONE = "README.md", ".huggingface.yaml"


@dataclass(frozen=True)
class CommitFiles:
    """How a commit's files are looked up.

    `base` is what `datasets` resolves patterns against; `read` gives a text file, None where there
    is none; `pins` makes the pins of what `datasets` finds; `top` names files and folders.
    """

    base: str
    read: Callable[[str], str | None]
    pins: Callable[[Sequence[str]], list[Pin]]
    top: Callable[[], list[str]]


def online(repository: Repository) -> CommitFiles:
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
        return Path(local).read_text(encoding="utf-8", errors="replace")

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

    return CommitFiles(base, read, pins, top)


def cached(repository: Repository) -> CommitFiles | None:
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
        return found.read_text(encoding="utf-8", errors="replace")

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

    return CommitFiles(folder.name, read, pins, top)
