"""Scheme `hf://`: repositories of the Hugging Face hub, pinned to a commit.

    hf://datasets/ORG/NAME[@REVISION]/PATH     hf://ORG/NAME[@REVISION]/PATH     (models)

What a file is comes from the listing of its commit, so that nothing of it is read: LFS's sha256, or
the blob id of git for small ones. The user's own token (HF_TOKEN, or `hf auth login`) opens what is
gated or private.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.io.files import replace_bytes
from infra.io.foreign import foreign_json
from infra.remote.access import Access
from infra.remote.errors import NoSuchObject, Unreachable
from infra.remote.hub_errors import api, explained, to_enter
from infra.remote.hub_names import Repository, matches, nearest, parse, shortened
from infra.stage import Pin, StageError

_COMMIT = re.compile(r"[0-9a-f]{40}")
_TOKENIZER = re.compile(r"tokenizer\.(?:json|model)|vocab\.(?:json|txt)|merges\.txt")
_BASE = re.compile(
    r".*\.safetensors(?:\.index\.json)?|tokenizer\.(?:json|model)|vocab\.(?:json|txt)|merges\.txt"
    r"|(?:config|generation_config|tokenizer_config|special_tokens_map|added_tokens)\.json"
    r"|adapter_config\.json|chat_template\.jinja"
    r"|(?:modules|sentence_bert_config|config_sentence_transformers|\d+_\w+/config)\.json"
)
"""Files of a checkpoint in a model's repository, and of what sentence-transformers says of its use.
An adapter's configuration is among them, so that an adapter is refused as such.
"""
_MODULES = "modules.json"
"""Where sentence-transformers lists the folders of a model's modules."""


def at_commit(repository: Repository) -> Repository:
    """The same repository with the commit that its revision is now.

    Without a network, the commit that the hub's cache remembers of the revision.
    """
    if _COMMIT.fullmatch(repository.revision):
        return repository
    with explained(repository):
        found = api().resolve_revision(
            repository.id, repo_type=repository.kind, revision=repository.revision
        )
    return Repository(repository.kind, repository.id, found.resolved)


def stat(url: str, access: Access) -> Pin:
    """The pin of one file."""
    repository, path = parse(url)
    repository = at_commit(repository)
    with explained(repository):
        found = api().get_paths_info(
            repository.id, [path], repo_type=repository.kind, revision=repository.revision
        )
    files = [info for info in found if info.path == path and hasattr(info, "blob_id")]
    if not files:
        raise NoSuchObject(f"{url}: no such file in the {repository}{_files_there(repository)}")
    return pin_of(repository, files[0], path.rpartition("/")[2])


def expand(reference: str, access: Access) -> list[Pin]:
    """The files that a path, a pattern or a folder of a repository names, in name order.

    A model without a path is its checkpoint: safetensors, configuration and tokenizer. Of several
    paths, separated by `|`, the first one counts that names anything.
    """
    repository, pattern = parse(reference)
    repository = at_commit(repository)
    if repository.kind == "model" and not pattern:
        return _checkpoint(repository, access)
    files = listing(repository)
    for one in pattern.split("|"):
        matching, folder = _found(files, one)
        if matching:
            return [
                pin_of(repository, file, file.path.removeprefix(folder) or file.path)
                for file in matching
            ]
    near = nearest(pattern, [file.path for file in files])
    raise NoSuchObject(
        f"{reference}: no file of the {repository} matches{near}; it has "
        f"{shortened([file.path for file in files])}"
    )


def _found(files: Sequence[Any], pattern: str) -> tuple[list[Any], str]:
    """(files that a path, pattern or folder names, the folder that their names are relative to)."""
    if any(sign in pattern for sign in "*?["):
        root = pattern[: min(pattern.find(sign) for sign in "*?[" if sign in pattern)]
        folder = f"{root.rpartition('/')[0]}/" if "/" in root else ""
        return [file for file in files if matches(file.path, pattern)], folder
    folder = f"{pattern.rstrip('/')}/" if pattern else ""
    if exact := [file for file in files if file.path == pattern]:
        return exact, f"{pattern.rpartition('/')[0]}/"
    return [file for file in files if file.path.startswith(folder)], folder


def is_weights(pin: Pin) -> bool:
    """Whether a file of a checkpoint holds weights, which a tokenizer has no use for."""
    return pin.name.endswith((".safetensors", ".safetensors.index.json"))


def _checkpoint(repository: Repository, access: Access) -> list[Pin]:
    """What a base needs of a model's repository: no pickles, no other formats of the weights.

    What a commit holds never changes, so it is remembered. Without a network and a memory, the
    hub's own cache is looked at.
    """
    key = hashlib.sha256(repository.prefix.encode()).hexdigest()[:32]
    file = access.cache / "lookups" / f"hub-{key}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return [Pin.from_json(found) for found in json.loads(file.read_text(encoding="utf-8"))]
    try:
        _require_answer(repository)
        top = [pin_of(repository, found, found.path) for found in _top(repository)]
    except Unreachable:
        top = _cached_top(repository)
        if not top:
            raise
    pins = _chosen(repository, top)
    replace_bytes(file, json.dumps([pin.to_json() for pin in pins]).encode())
    return pins


def _require_answer(repository: Repository) -> None:
    """Raise `Unreachable` at once where the hub is silent; listings are tried for a minute."""
    with explained(repository):
        api().repo_info(repository.id, repo_type=repository.kind, revision=repository.revision)


def _chosen(repository: Repository, top: Sequence[Pin]) -> list[Pin]:
    names = [pin.name for pin in top if "/" not in pin.name]
    others = {name for name in names if name.startswith("consolidated")}
    if others == {name for name in names if name.endswith(".safetensors")}:
        others = set()
    chosen = [pin for pin in top if _BASE.fullmatch(pin.name) and pin.name not in others]
    if not any(_TOKENIZER.fullmatch(pin.name) or is_weights(pin) for pin in chosen):
        raise NoSuchObject(
            f"the {repository} has neither safetensors nor a tokenizer at its top; it has "
            f"{shortened(names)}"
        )
    return chosen


def _cached_top(repository: Repository) -> list[Pin]:
    """The files of a commit that the hub's cache has; none unless they are a whole checkpoint."""
    from huggingface_hub import constants, get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError
    from huggingface_hub.file_download import repo_folder_name

    name = repo_folder_name(repo_id=repository.id, repo_type=repository.kind)
    folder = Path(constants.HF_HUB_CACHE) / name / "snapshots" / repository.revision
    files = sorted(path for path in (*folder.glob("*"), *folder.glob("*/*")) if path.is_file())
    there = {path.relative_to(folder).as_posix() for path in files}
    with contextlib.suppress(CachedRepoTreeNotFoundError):
        tree = get_cached_repo_tree(
            repository.id, repo_type=repository.kind, revision=repository.revision
        )
        if any(_BASE.fullmatch(file.path) and file.path not in there for file in tree):
            return []
    for index in folder.glob("*.safetensors.index.json"):
        shards = foreign_json(index.read_text(encoding="utf-8")).get("weight_map", {}).values()
        if not set(shards) <= there:
            return []
    found = []
    for path in files:
        blob = path.resolve().name  # LFS's sha256, or git's blob id
        sha256 = blob if len(blob) == 64 else ""
        name = path.relative_to(folder).as_posix()
        address = f"{repository.prefix}/{name}"
        found.append(Pin(address, name, sha256, path.stat().st_size, "" if sha256 else blob))
    return found


def _top(repository: Repository) -> list[Any]:
    with explained(repository):
        found = api().list_repo_tree(
            repository.id, repo_type=repository.kind, revision=repository.revision
        )
        top = [info for info in found if hasattr(info, "blob_id")]
    if any(info.path == _MODULES for info in top):
        top += [info for info in listing(repository) if "/" in info.path]
    return sorted(top, key=lambda info: info.path)


def target(pin: Pin, access: Access) -> Any:
    """Where to GET a pinned file. Its commit says what it is: the answer needs no validator."""
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    from infra.remote.request import Target

    repository, path = parse(pin.path)
    if constants.HF_HUB_OFFLINE:
        raise Unreachable(
            f"{path} of the {repository} is in no local cache, and HF_HUB_OFFLINE is set; unset "
            "it, or fetch the file with `hf download`"
        )
    url = hf_hub_url(repository.id, path, repo_type=repository.kind, revision=repository.revision)
    headers = {
        name: value for name, value in build_hf_headers().items() if name.lower() == "authorization"
    }
    return Target(url, headers, denied=to_enter(repository, bool(headers)), lasting=True)


def listing(repository: Repository, below: str = "") -> list[Any]:
    """All files (`huggingface_hub.RepoFile`) of a repository, or of a folder of it, by name."""
    _require_answer(repository)
    with explained(repository):
        found = api().list_repo_tree(
            repository.id,
            below or None,
            recursive=True,
            repo_type=repository.kind,
            revision=repository.revision,
        )
        return sorted(
            (info for info in found if hasattr(info, "blob_id")), key=lambda info: info.path
        )


def pin_of(repository: Repository, file: Any, name: str) -> Pin:
    """The pin of a file of a listing."""
    return Pin(
        f"{repository.prefix}/{file.path}",
        name,
        file.lfs.sha256 if file.lfs else "",
        file.lfs.size if file.lfs else file.size,
        "" if file.lfs else file.blob_id,
    )


def _files_there(repository: Repository) -> str:
    try:
        files = [file.path for file in listing(repository)]
    except StageError:
        return ""
    return f"; it has {shortened(files)}"


def hub_copy(pin: Pin) -> Path | None:
    """The file of a pin in the hub's own cache, where `hf download` or another program put it."""
    if not pin.path.startswith("hf://"):
        return None
    from huggingface_hub import try_to_load_from_cache

    repository, path = parse(pin.path)
    found = try_to_load_from_cache(
        repository.id, path, repo_type=repository.kind, revision=repository.revision
    )
    return Path(found) if isinstance(found, str) else None
