"""What an HTTP answer says: of which content it is, and what its errors mean."""

from __future__ import annotations

import contextlib
import email.utils
import re
import time

import urllib3

from infra.remote.errors import Denied, NoSuchObject, RemoteError, Transient

Response = urllib3.BaseHTTPResponse

_ANSWERS = (200, 206, 304, 412, 416)
"""Statuses that callers judge; all others are errors."""

PASSING = (408, 425, 429, 500, 502, 503, 504, 509, 520, 521, 522, 523, 524, 529)
PASSING_CODES = {
    "SlowDown",
    "RequestTimeout",
    "InternalError",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "RequestLimitExceeded",
}
"""Codes in XML errors of S3 and its like that pass by themselves, whatever the status."""

ADVICE = {
    "ExpiredToken": "the session token (AWS_SESSION_TOKEN) has expired; log in again",
    "ExpiredTokenException": "the session token (AWS_SESSION_TOKEN) has expired; log in again",
    "TokenRefreshRequired": "the session token (AWS_SESSION_TOKEN) has expired; log in again",
    "InvalidToken": "the session token is not valid; set AWS_SESSION_TOKEN, or remove it",
    "InvalidAccessKeyId": "there is no such access key; check AWS_ACCESS_KEY_ID, or AWS_PROFILE",
    "SignatureDoesNotMatch": "the secret key is not that of the access key; check "
    "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "RequestTimeTooSkewed": "the clock of this machine is wrong; set it",
    "RequestExpired": "the clock of this machine is wrong; set it",
    "InvalidObjectState": "the object is archived; restore it first (aws s3api restore-object)",
}
"""Codes of S3 that say more than that something is refused -> what to do."""

_ELSEWHERE = (
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IncorrectEndpoint",
    "IllegalLocationConstraintException",
)

ERROR_BYTES = 16 << 10


def validator_of(response: Response) -> str:
    """What tells this content from an earlier or later one: the ETag without quotes, or the time of
    its last change; "" where neither is stated.
    """
    if etag := response.headers.get("ETag", "").strip():
        weak = "W/" if etag.startswith("W/") else ""
        return weak + etag.removeprefix("W/").strip('"')
    modified = response.headers.get("Last-Modified", "").strip()
    return f"modified {modified}" if modified else ""


def contradiction(response: Response, expected: str) -> str:
    """What an answer states of its content where it is surely another one than expected; "" where
    it is not, or cannot be told: a server may state less of one answer than of another.
    """
    if not expected:
        return ""
    if expected.startswith("modified "):
        modified = response.headers.get("Last-Modified", "").strip()
        return f"modified {modified}" if modified and f"modified {modified}" != expected else ""
    stated = validator_of(response)
    if stated.startswith("modified "):
        return ""
    return stated if stated.removeprefix("W/") != expected.removeprefix("W/") else ""


def conditions(validator: str) -> dict[str, str]:
    """Headers that make the server refuse (412) where the content is no longer that one."""
    if validator.startswith("modified "):
        return {"If-Unmodified-Since": validator.removeprefix("modified ")}
    return {"If-Match": f'"{validator}"'} if validator and not validator.startswith("W/") else {}


def raise_errors(response: Response, what: str, denied: str, etagged: bool = False) -> None:
    """Raise what an answer's status and body mean, unless callers judge it. `denied` says what to
    set where the server refuses. `etagged`: XML without an ETag is no object, but an error.
    """
    status = response.status
    kind = response.headers.get("Content-Type", "")
    is_error = etagged and status in (200, 206) and "xml" in kind and "ETag" not in response.headers
    if status in _ANSWERS and not is_error:
        return
    body = response.read(ERROR_BYTES, decode_content=True).decode("utf-8", "replace")
    code, message = xml_error(body)
    said = f"HTTP {status}" + (f" {code}" if code else "") + (f": {message}" if message else "")
    slow = code in PASSING_CODES or "reduce your request rate" in body.lower()
    if slow or status in PASSING or status in _ANSWERS:
        raise Transient(said, wait_s=retry_after(response.headers.get("Retry-After", "")))
    if status in (404, 410):
        raise NoSuchObject(f"{what}: no such object ({said}); check the address")
    if code in ADVICE:
        raise Denied(f"{what}: refused ({said}); {ADVICE[code]}")
    stated = re.search(r"<Region>\s*([\w-]+)", body)
    region = response.headers.get("x-amz-bucket-region") or (stated[1] if stated else "")
    if elsewhere := another_region(code, region):
        raise RemoteError(f"{what}: refused ({said}); {elsewhere}")
    if status in (401, 402, 403, 407, 451):
        raise Denied(f"{what}: refused ({said}); {denied}")
    raise RemoteError(f"{what}: the server answered {said}")


def another_region(code: str, region: str) -> str:
    """What to do where S3 says that a bucket is in another region; "" where it says something
    else.
    """
    if code not in _ELSEWHERE:
        return ""
    known = region or "THAT-REGION"
    return (
        f"the bucket is in {f'the region {region}' if region else 'another region'}: set "
        f"AWS_DEFAULT_REGION={known} (or AWS_ENDPOINT_URL=https://s3.{known}.amazonaws.com)"
    )


def xml_error(body: str) -> tuple[str, str]:
    """Code and message of an XML error as S3 writes it; "" and "" for anything else."""
    code = re.search(r"<Code>\s*(\w+)\s*</Code>", body)
    message = re.search(r"<Message>([^<]{0,200})", body)
    return (code[1] if code else ""), (message[1].strip().rstrip(".") if code and message else "")


def retry_after(value: str) -> float:
    """Seconds that a Retry-After header asks for; 0 for none."""
    if not value:
        return 0.0
    with contextlib.suppress(ValueError):
        return max(float(value), 0.0)
    with contextlib.suppress(ValueError, TypeError):
        return max(email.utils.parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    return 0.0
