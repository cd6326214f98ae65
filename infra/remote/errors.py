"""What can go wrong with a remote object; each says what was asked, what came, and what to do."""

from __future__ import annotations

from infra.stage import StageError


class RemoteError(StageError):
    """A remote object cannot be had."""


class Unreachable(RemoteError):
    """The network, or the server, does not answer; no fault of the recipe."""


class NoSuchObject(RemoteError):
    """The server answers that there is no such object; says what there is, where it can be
    listed.
    """


class NoSuchBucket(NoSuchObject):
    """There is no such bucket."""


class NoMatch(NoSuchObject):
    """The bucket or folder is there, and holds nothing of that name or pattern."""


class Denied(RemoteError):
    """A login, a gate or a permission is missing; names what to set."""


class Changed(RemoteError):
    """The object is not the one that was pinned: says what it was and what it is."""


class Foreign(RemoteError):
    """What came is not the object that was asked for: an error or login page, another format."""


class NoRoom(RemoteError):
    """There is no room for what is wanted: on the disk, or ahead of time in the cache."""


class Stopped(Exception):
    """Who asked for the object no longer wants it."""


class Transient(Exception):
    """A request failed in a way that passes: it is tried again (`infra.remote.retry`).

    `wait_s` is what the server asks for; `progress` says that the try got on, so that patience
    begins anew.
    """

    def __init__(self, why: str, *, wait_s: float = 0.0, progress: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.wait_s = wait_s
        self.progress = progress
