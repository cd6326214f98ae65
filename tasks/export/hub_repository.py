"""Uploads files to a repository of the Hugging Face hub, in one commit, through its own library."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from infra.stage import StageError

Kind = Literal["model", "dataset"]
CARD = "README.md"


def require_name(repository: str) -> None:
    """`StageError` unless a name is `OWNER/NAME`, as the hub allows it."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise StageError(f"{repository!r} is no name of a repository: {error}") from error
    if repository.count("/") != 1:
        raise StageError(f"{repository!r} is no name of a repository; write OWNER/NAME")


def require_place(repository: str, kind: Kind, *, update: bool) -> None:
    """`StageError` where the hub cannot be written to, or has the repository already. One that is
    empty, as an interrupted push leaves it, is used.

    Asked before anything is uploaded.
    """
    from huggingface_hub import HfApi

    files: list[str] = []
    with _refusals(repository):
        api = HfApi()
        api.whoami()
        if not update and api.repo_exists(repository, repo_type=kind):
            files = api.list_repo_files(repository, repo_type=kind)
    if set(files) - {".gitattributes"}:
        raise StageError(
            f"the hub has a {kind} {repository} already ({len(files)} files); name another one, or "
            "add --update to put a new commit on it"
        )


def upload(
    repository: str,
    kind: Kind,
    files: Mapping[str, Path],
    card: str,
    *,
    private: bool,
    message: str,
) -> str:
    """Make the repository if need be, and upload files and card; returns its address.

    All files appear at once. Large ones that were uploaded before an interruption are not sent
    again.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    operations = [
        CommitOperationAdd(CARD, card.encode()),
        *(CommitOperationAdd(name, str(path)) for name, path in sorted(files.items())),
    ]
    with _refusals(repository):
        api = HfApi()
        made = api.create_repo(repository, repo_type=kind, private=private, exist_ok=True)
        api.create_commit(repository, operations, commit_message=message, repo_type=kind)
    return str(made)


@contextlib.contextmanager
def _refusals(repository: str) -> Iterator[None]:
    """Turns what the hub's library raises into sentences."""
    from httpx2 import TransportError
    from huggingface_hub.errors import (
        HfHubHTTPError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
    )

    try:
        yield
    except LocalTokenNotFoundError:
        raise StageError(
            "the hub wants to know who writes: set HF_TOKEN to a token with write access "
            "(huggingface.co/settings/tokens), or run `hf auth login`"
        ) from None
    except OfflineModeIsEnabled:
        raise StageError("HF_HUB_OFFLINE is set; unset it to push") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        said = (error.server_message or str(error)).strip().splitlines()[0][:200]
        owner = repository.partition("/")[0]
        advice = {401: "; HF_TOKEN is not valid", 403: f"; HF_TOKEN may not write to {owner}"}
        raise StageError(
            f"the hub refused {repository} (status {status}: {said}){advice.get(status, '')}. "
            "Nothing of this commit is visible there"
        ) from None
    except (TransportError, OSError) as error:
        raise StageError(
            f"the hub cannot be reached ({type(error).__name__}: {error}); push again: files that "
            "are there are not sent twice"
        ) from None
