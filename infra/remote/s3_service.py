"""S3 as s3fs asks it: settings and credentials of the environment, and answers in words.

Credentials are those of the environment (AWS_* variables, or a profile); without any, requests are
anonymous. What passes by itself is tried again here (`infra.remote.retry`), never below: a write
that is tried again out of sight could meet its own object.
"""

from __future__ import annotations

import errno
import functools
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from infra.remote.access import Access
from infra.remote.answers import ADVICE, PASSING_CODES, another_region
from infra.remote.errors import (
    Denied,
    NoSuchBucket,
    NoSuchObject,
    RemoteError,
    Transient,
    Unreachable,
)
from infra.remote.retry import persist
from infra.stage import StageError

T = TypeVar("T")

_WITH_CREDENTIALS = "the credentials of the environment do not allow it; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, of an account that may"  # noqa: E501
_PAYER = "a bucket whose reader pays (requester pays) needs AWS_REQUEST_PAYER=requester"
_ANONYMOUS = "no credentials are set; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, of an account that may"  # noqa: E501
_TORN = {"IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch"}
"""Codes of S3 for a write that did not come as it was sent."""

_LOGIN = "log in again (aws sso login), or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"  # noqa: E501
_ADDRESS = "check AWS_ENDPOINT_URL (http:// or https://) and the other AWS_* settings; AWS_CA_BUNDLE names the certificates of your own authority"  # noqa: E501
_PASSING_STATUS = (408, 425, 429)
_REFUSING_STATUS = (0, 401, 402, 403)
_FOREVER = (errno.EINVAL, errno.ENOSYS, errno.EPERM)
"""Errors of the operating system, as s3fs names answers, that no further try mends."""


def hint() -> str:
    """What to set where S3 refuses."""
    if not has_credentials():
        return _ANONYMOUS
    return _WITH_CREDENTIALS if pays() else f"{_WITH_CREDENTIALS}; {_PAYER}"


def pays() -> bool:
    """Whether the environment agrees to pay for what is read from requester-pays buckets."""
    return os.environ.get("AWS_REQUEST_PAYER", "").lower() == "requester"


def has_credentials() -> bool:
    """Whether the environment has AWS credentials of any kind."""
    names = (
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    )
    file = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws" / "credentials"
    return any(os.environ.get(name) for name in names) or Path(file).is_file()


def endpoint_of_environment() -> str:
    """The address of an S3 that is not Amazon's, as the environment names it; "" for none."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def filesystem(access: Access) -> Any:
    """The s3fs file system of these settings; threads share it. Raises `StageError` where s3fs is
    not installed.
    """
    if importlib.util.find_spec("s3fs") is None:
        raise StageError(
            "s3:// needs the package s3fs, which is not installed: pip install 'puna[s3]'"
        )
    endpoint = access.endpoint or endpoint_of_environment()
    return _filesystem(
        endpoint,
        not has_credentials(),
        pays(),
        access.connect_timeout_s,
        access.read_timeout_s,
        os.getpid(),
    )


@functools.lru_cache(maxsize=16)
def _filesystem(
    endpoint: str,
    anonymous: bool,
    paying: bool,
    connect_timeout_s: float,
    read_timeout_s: float,
    process: int,
) -> Any:
    """Forked workers must not share their parent's connections: `process` tells them apart."""
    import s3fs

    style = "path" if endpoint else "auto"
    system = s3fs.S3FileSystem(
        anon=anonymous,
        endpoint_url=endpoint or None,
        cache_regions=not anonymous and style == "auto",
        use_listings_cache=False,
        skip_instance_cache=True,
        requester_pays=paying and not anonymous,
        config_kwargs={
            "s3": {"addressing_style": style},
            "signature_version": None if anonymous else "s3v4",
            "connect_timeout": connect_timeout_s,
            "read_timeout": read_timeout_s,
            "max_pool_connections": 64,
            "retries": {"total_max_attempts": 1},
        },
    )
    system.retries = 1  # `persist` tries again
    return system


LISTING = (
    "may not be listed",
    ", or name each object: those of known names may be readable without permission to list",
)
"""What S3 refuses, and what to do besides setting credentials."""


def asked(
    reference: str, access: Access, ask: Callable[[], T], refused: tuple[str, str] = LISTING
) -> T:
    """The answer of s3fs, with its errors in words and retried as all are.

    `ask` may raise errors of this package itself. Raises `NoSuchObject`, `Denied`, `Unreachable`
    and `RemoteError`.
    """

    def attempt() -> T:
        try:
            return ask()
        except (StageError, Transient):
            raise
        except FileExistsError:  # of `ask` itself: a new object was not new
            raise
        except FileNotFoundError as error:
            if _of_credentials(error):  # a file that holds them, and no object
                raise _in_words(error, reference, refused) from error
            code, _ = code_of(error)
            if code in ("NoSuchKey", "404"):
                raise NoSuchObject(f"{reference}: no such object") from None
            kind = NoSuchBucket if code == "NoSuchBucket" else NoSuchObject
            raise kind(
                f"{reference.rstrip('/')}: there is no bucket {bucket_of(reference)!r}, or nothing "
                "in it; check its name"
            ) from None
        except Exception as error:
            raise _in_words(error, reference, refused) from error

    return persist(attempt, reference, access.endpoint or "s3", access)


def _in_words(error: Exception, reference: str, refused: tuple[str, str]) -> Exception:
    """What an error of s3fs, botocore or aiohttp means: `Transient` where it may pass."""
    code, region = code_of(error)
    said = f"{type(error).__name__}: {error}".rstrip(": ")
    if _of_credentials(error):
        return Denied(
            f"{reference}: the credentials of the environment cannot be had ({said}); {_LOGIN}"
        )
    if elsewhere := another_region(code, region):
        return RemoteError(f"{reference}: refused ({code}); {elsewhere}")
    if code in ADVICE:
        return Denied(f"{reference}: refused ({code}: {error}); {ADVICE[code]}")
    if isinstance(error, PermissionError) and status_of(error) in _REFUSING_STATUS:
        stated = f"{code}: {error}" if code else error
        return Denied(f"{reference}: {refused[0]} ({stated}); {hint()}{refused[1]}")
    if (inner := _of_this_machine(error)) is not None:
        return Unreachable(f"{reference}: no server is asked ({inner}); {_ADDRESS}")
    if code in PASSING_CODES | _TORN or _passes(error):
        return Transient(str(error) or type(error).__name__)
    return RemoteError(
        f"{reference}: {said}; check bucket, key, and the AWS_* settings of the environment"
    )


def bucket_of(url: str) -> str:
    """The bucket of `s3://bucket/key`."""
    return url.removeprefix("s3://").partition("/")[0]


def code_of(error: BaseException) -> tuple[str, str]:
    """(S3's code, the bucket's region) of what s3fs raised; "" for what is not known. HEAD has no
    body, and its status stands in for the code.
    """
    answer = _answer(error)
    stated = answer.get("Error", {})
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = headers.get("x-amz-bucket-region") or stated.get("Region", "")
    return str(stated.get("Code", "")), str(region)


def status_of(error: BaseException) -> int:
    """The HTTP status of what s3fs raised; 0 where there was no answer."""
    return int(_answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)


def _answer(error: BaseException) -> dict[str, Any]:
    inner: BaseException | None = error
    while inner is not None and not hasattr(inner, "response"):
        inner = inner.__cause__ or inner.__context__
    answer = getattr(inner, "response", None)
    return answer if isinstance(answer, dict) else {}


def _of_credentials(error: BaseException) -> bool:
    """Whether an error comes from where credentials are looked for: a profile, a login that is
    over, a file or a program that is gone.
    """
    name = type(error).__name__
    if name in ("ProfileNotFound", "ConfigParseError", "NoCredentialsError"):
        return True
    place = error.__traceback__
    while place is not None:
        if place.tb_frame.f_globals.get("__name__", "").endswith("botocore.credentials"):
            return True
        place = place.tb_next
    return False


def _of_this_machine(error: Exception) -> BaseException | None:
    """What keeps a request from being sent, whatever the server does: a header or a file of
    certificates that cannot be, a certificate that is not trusted, TLS with a server without it.
    """
    inner = getattr(error, "kwargs", {}).get("error")
    if not isinstance(inner, BaseException):
        return None
    final = isinstance(inner, ValueError | FileNotFoundError) or any(
        sign in str(inner) for sign in ("WRONG_VERSION_NUMBER", "CERTIFICATE_VERIFY_FAILED")
    )
    return inner if final else None


def _passes(error: Exception) -> bool:
    """Whether an error of s3fs, botocore or aiohttp may pass by itself."""
    status = status_of(error)
    if status >= 400:
        return status in _PASSING_STATUS or (status >= 500 and status not in (501, 505))
    if isinstance(error, OSError):
        return error.errno not in _FOREVER
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(
        names & {"HTTPClientError", "ConnectionError", "ClientError", "IncompleteReadError"}
    )
