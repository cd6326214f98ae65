"""Errors of the hub's libraries as ours: what is wrong, what there is instead, what to set."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator
from typing import Any

from infra.remote.errors import Denied, NoSuchObject, RemoteError, Unreachable
from infra.remote.hub_names import Repository, nearest, shortened
from infra.stage import StageError

_SEARCHED = 1_000
_NAMES_ASKED = 12


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
            f"{to_enter(repository, _has_token())}"
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
                f"{to_enter(repository, _has_token())}"
            ) from None
        if status >= 500 or status == 429:
            raise Unreachable(f"the hub answers HTTP {status} for the {repository}") from None
        raise RemoteError(f"the {repository}: HTTP {status}: {_said(error)}") from None
    except httpx2.TransportError as error:
        raise Unreachable(_unreachable(repository, error)) from None


def api() -> Any:
    """The hub's own client."""
    from huggingface_hub import HfApi

    return HfApi()


def _has_token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None


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


def to_enter(repository: Repository, has_token: bool) -> str:
    """What to do where the hub refuses."""
    if has_token:
        return f"the account of your token (HF_TOKEN) may not read it; see {repository.page}"
    return "if it is private or gated, set HF_TOKEN to a token of yours (or run `hf auth login`)"


def _revisions(repository: Repository) -> str:
    try:
        refs = api().list_repo_refs(repository.id, repo_type=repository.kind)
    except Exception:
        return ""
    names = [ref.name for ref in (*refs.branches, *refs.tags)]
    return f"{nearest(repository.revision, names)}; it has {shortened(names)}, and commits"


def _others(repository: Repository) -> str:
    """What the same owner has, or what is called alike."""
    client = api()
    search = client.list_datasets if repository.kind == "dataset" else client.list_models
    owner, _, name = repository.id.partition("/")
    try:
        names = [found.id for found in search(author=owner, limit=_SEARCHED)]
        if not names:
            names = [found.id for found in search(search=name, limit=_NAMES_ASKED)]
    except Exception:
        return ""
    close = difflib.get_close_matches(repository.id, names, n=5, cutoff=0.5) or names
    close_name = nearest(repository.id, names)
    return f"{close_name}; there are {shortened(close)}" if names else ""


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
