"""Scheme `hf://`: repositories of the Hugging Face hub, pinned to a commit.

    hf://datasets/ORG/NAME[@REVISION]/PATH     hf://ORG/NAME[@REVISION]/PATH     (models)

What a file is comes from the listing of its commit, so that nothing of it is read: LFS's sha256, or
the blob id of git for small ones. The user's own token (HF_TOKEN, or `hf auth login`) opens what is
gated or private.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

from infra.io.files import replace_bytes
from infra.remote.access import Access
from infra.remote.errors import Denied, NoSuchObject, RemoteError, Unreachable
from infra.stage import Pin, StageError

Kind = Literal["dataset", "model"]
WORDS: dict[Kind, str] = {"dataset": "data set", "model": "model"}

_REFERENCE = re.compile(
    r"hf://(?P<datasets>datasets/)?(?P<id>(?!(?:datasets|spaces|buckets)/)[^/@]+/[^/@]+)"
    r"(?:@(?P<revision>refs/(?:convert|pr)/[^/]+|[^/]+))?(?:/(?P<path>.*))?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TOKENIZER = re.compile(r"tokenizer\.(?:json|model)|vocab\.(?:json|txt)|merges\.txt")
_BASE = re.compile(
    r".*\.safetensors(?:\.index\.json)?|tokenizer\.(?:json|model)|vocab\.(?:json|txt)|merges\.txt"
    r"|(?:config|generation_config|tokenizer_config|special_tokens_map|added_tokens)\.json"
    r"|adapter_config\.json|chat_template\.jinja"
)
"""Files of a checkpoint in a model's repository. An adapter's configuration is among them, so that
an adapter is refused as such.
"""

_NAMES_SHOWN = 12
_SEARCHED = 1_000


@dataclass(frozen=True)
class Repository:
    """A repository of the hub at a revision (a branch, tag or commit; "main" by default)."""

    kind: Kind
    id: str
    revision: str = "main"

    def __str__(self) -> str:
        at = f" at {self.revision[:12]}" if self.revision != "main" else ""
        return f"{WORDS[self.kind]} {self.id}{at}"

    @property
    def prefix(self) -> str:
        """Its `hf://` address, with the revision."""
        datasets = "datasets/" if self.kind == "dataset" else ""
        return f"hf://{datasets}{self.id}@{quote(self.revision, safe='')}"

    @property
    def page(self) -> str:
        """The address of its page for people."""
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{'datasets/' if self.kind == 'dataset' else ''}{self.id}"


def parse(reference: str) -> tuple[Repository, str]:
    """(repository, path or pattern in it). Raises `StageError` for what is no `hf://` reference."""
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise StageError(
            f"{reference}: is not hf://datasets/ORG/NAME[@REVISION]/PATH (a data set) or "
            "hf://ORG/NAME[@REVISION]/PATH (a model)"
        )
    kind: Kind = "dataset" if found["datasets"] else "model"
    revision = unquote(found["revision"] or "main")
    return Repository(kind, found["id"], revision), found["path"] or ""


def at_commit(repository: Repository) -> Repository:
    """The same repository with the commit that its revision is now.

    Without a network, the commit that the hub's cache remembers of the revision.
    """
    if _COMMIT.fullmatch(repository.revision):
        return repository
    with explained(repository):
        found = _api().resolve_revision(
            repository.id, repo_type=repository.kind, revision=repository.revision
        )
    return Repository(repository.kind, repository.id, found.resolved)


def stat(url: str, access: Access) -> Pin:
    """The pin of one file."""
    repository, path = parse(url)
    repository = at_commit(repository)
    with explained(repository):
        found = _api().get_paths_info(
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
        return [file for file in files if _matches(file.path, pattern)], folder
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
        _api().repo_info(repository.id, repo_type=repository.kind, revision=repository.revision)


def _chosen(repository: Repository, top: Sequence[Pin]) -> list[Pin]:
    names = [pin.name for pin in top]
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
    files = sorted(path for path in folder.glob("*") if path.is_file())
    there = {path.name for path in files}
    with contextlib.suppress(CachedRepoTreeNotFoundError):
        tree = get_cached_repo_tree(
            repository.id, repo_type=repository.kind, revision=repository.revision
        )
        if any(_BASE.fullmatch(file.path) and file.path not in there for file in tree):
            return []
    for index in folder.glob("*.safetensors.index.json"):
        shards = json.loads(index.read_text(encoding="utf-8")).get("weight_map", {}).values()
        if not set(shards) <= there:
            return []
    found = []
    for path in files:
        blob = path.resolve().name  # LFS's sha256, or git's blob id
        sha256 = blob if len(blob) == 64 else ""
        address = f"{repository.prefix}/{path.name}"
        found.append(Pin(address, path.name, sha256, path.stat().st_size, "" if sha256 else blob))
    return found


def _top(repository: Repository) -> list[Any]:
    with explained(repository):
        found = _api().list_repo_tree(
            repository.id, repo_type=repository.kind, revision=repository.revision
        )
        return sorted(
            (info for info in found if hasattr(info, "blob_id")), key=lambda info: info.path
        )


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
    return Target(url, headers, denied=_to_enter(repository, bool(headers)), lasting=True)


def listing(repository: Repository, below: str = "") -> list[Any]:
    """All files (`huggingface_hub.RepoFile`) of a repository, or of a folder of it, by name."""
    _require_answer(repository)
    with explained(repository):
        found = _api().list_repo_tree(
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


@contextlib.contextmanager
def explained(repository: Repository) -> Iterator[None]:
    """The hub libraries' errors as ours: what is wrong, what there is instead, what to set."""
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise Denied(_gated(repository, error.response.status_code)) from None
    except errors.RevisionNotFoundError:
        raise NoSuchObject(
            f"{repository.id} has no revision {repository.revision!r}{_revisions(repository)}"
        ) from None
    except errors.RepositoryNotFoundError:
        raise NoSuchObject(
            f"there is no {repository}, or it is private{_others(repository)}; "
            f"{_to_enter(repository, _has_token())}"
        ) from None
    except errors.HFValidationError:
        raise StageError(
            f"{repository.id!r} is no name on the hub, which is ORG/NAME, such as "
            "HuggingFaceFW/fineweb"
        ) from None
    except (errors.RevisionResolutionError, errors.OfflineModeIsEnabled) as error:
        raise Unreachable(_unreachable(repository, error)) from None
    except errors.LocalEntryNotFoundError as error:
        raise Unreachable(_unreachable(repository, error)) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise Denied(
                f"the {repository} cannot be read (HTTP {status}: {_said(error)}); "
                f"{_to_enter(repository, _has_token())}"
            ) from None
        if status >= 500 or status == 429:
            raise Unreachable(f"the hub answers HTTP {status} for the {repository}") from None
        raise RemoteError(f"the {repository}: HTTP {status}: {_said(error)}") from None
    except httpx2.TransportError as error:
        raise Unreachable(_unreachable(repository, error)) from None


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` where something known is close, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def shortened(names: Sequence[str]) -> str:
    """The first names of a list, and how many more."""
    rest = len(names) - _NAMES_SHOWN
    return ", ".join([*names[:_NAMES_SHOWN], *[f"{rest:,} more"] * (rest > 0)]) or "nothing"


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi()


def _has_token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None


def _matches(path: str, pattern: str) -> bool:
    """As globs of paths: `*` and `?` within one folder, `**` over several."""
    return re.fullmatch(_regex(pattern), path) is not None


def _regex(pattern: str) -> str:
    parts, at = [], 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            parts.append("(?:.*/)?")
            at += 3
        elif pattern.startswith("**", at):
            parts.append(".*")
            at += 2
        elif pattern[at] == "*":
            parts.append("[^/]*")
            at += 1
        elif pattern[at] == "?":
            parts.append("[^/]")
            at += 1
        elif pattern[at] == "[" and (end := pattern.find("]", at + 2)) > 0:
            inner = pattern[at + 1 : end]
            inner = f"^{inner[1:]}" if inner[0] == "!" else inner
            parts.append(f"[{inner}]".replace("\\", "\\\\"))
            at = end + 1
        else:
            parts.append(re.escape(pattern[at]))
            at += 1
    return "".join(parts)


def _gated(repository: Repository, status: int) -> str:
    if status == 403 or _has_token():
        return (
            f"the {repository} is gated, and the account of your token (HF_TOKEN) has not been "
            f"let in; ask for access at {repository.page}"
        )
    return (
        f"the {repository} is gated: accept its conditions at {repository.page}, then set HF_TOKEN "
        "to a token of that account (or run `hf auth login`)"
    )


def _to_enter(repository: Repository, has_token: bool) -> str:
    if has_token:
        return f"the account of your token (HF_TOKEN) may not read it; see {repository.page}"
    return "if it is private or gated, set HF_TOKEN to a token of yours (or run `hf auth login`)"


def _revisions(repository: Repository) -> str:
    try:
        refs = _api().list_repo_refs(repository.id, repo_type=repository.kind)
    except Exception:
        return ""
    names = [ref.name for ref in (*refs.branches, *refs.tags)]
    return f"{nearest(repository.revision, names)}; it has {shortened(names)}, and commits"


def _others(repository: Repository) -> str:
    """What the same owner has, or what is called alike."""
    api = _api()
    search = api.list_datasets if repository.kind == "dataset" else api.list_models
    owner, _, name = repository.id.partition("/")
    try:
        names = [found.id for found in search(author=owner, limit=_SEARCHED)]
        if not names:
            names = [found.id for found in search(search=name, limit=_NAMES_SHOWN)]
    except Exception:
        return ""
    close = difflib.get_close_matches(repository.id, names, n=5, cutoff=0.5) or names
    close_name = nearest(repository.id, names)
    return f"{close_name}; there are {shortened(close)}" if names else ""


def _files_there(repository: Repository) -> str:
    try:
        files = [file.path for file in listing(repository)]
    except StageError:
        return ""
    return f"; it has {shortened(files)}"


def _unreachable(repository: Repository, error: Exception) -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return (
            f"the {repository} is not in the local cache of the hub ({constants.HF_HUB_CACHE}), "
            "and HF_HUB_OFFLINE is set; unset it, or fetch the data with `hf download`"
        )
    cause = error.__cause__ or error
    return (
        f"the hub ({constants.ENDPOINT}) cannot be reached for the {repository} "
        f"({type(cause).__name__}); check the network and HF_ENDPOINT"
    )


def _said(error: Any) -> str:
    message = error.response.headers.get("X-Error-Message", "")
    return message or str(error).partition("\n")[0]


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
