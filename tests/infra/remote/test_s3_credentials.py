"""Credentials that cannot be had, and requests that cannot be sent, end in a sentence at once: no
object is taken for missing because a file of credentials is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.remote import s3_objects, s3_service
from infra.remote.access import Access
from infra.remote.errors import Denied, Unreachable
from tests.loopback.s3 import CREDENTIALS, LoopbackS3, s3_server

CONFIG = """\
[profile missing-program]
credential_process = /no/such/program
[profile failing]
credential_process = /bin/false
[profile garbage]
credential_process = /bin/echo hello
[profile over]
credential_process = /bin/echo '{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b", \
"SessionToken": "c", "Expiration": "2020-01-01T00:00:00Z"}'
[profile login]
sso_session = work
sso_account_id = 123456789012
sso_role_name = reader
[sso-session work]
sso_start_url = https://work.invalid/start
sso_region = us-east-1
"""


@pytest.fixture(scope="module")
def s3() -> Iterator[LoopbackS3]:
    with s3_server() as found:
        found.put("data", "a", b"here")
        yield found


@pytest.fixture
def access(s3: LoopbackS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Access]:
    """Patient: what is not said at once runs into the test's time."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": s3.endpoint}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    (tmp_path / "config").write_text(CONFIG)
    s3_service._filesystem.cache_clear()
    yield Access(cache=tmp_path / "cache", retry_limit_s=600)
    s3_service._filesystem.cache_clear()


def without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "profile", ["missing-program", "failing", "garbage", "over", "login", "no-profile"]
)
def test_a_profile_without_credentials(
    profile: str, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_keys(monkeypatch)
    monkeypatch.setenv("AWS_PROFILE", profile)
    with pytest.raises(Denied, match=r"cannot be had \(.*\); log in again") as raised:
        s3_objects.head("s3://data/a", access)
    assert "\n" not in str(raised.value)


def test_a_token_file_that_is_gone(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    without_keys(monkeypatch)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/no/such/file")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader")
    with pytest.raises(Denied, match=r"cannot be had .*/no/such/file"):
        s3_objects.head("s3://data/a", access)


def test_half_of_a_key(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(Denied, match="missing: AWS_SECRET_ACCESS_KEY"):
        s3_objects.head("s3://data/a", access)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("AWS_ENDPOINT_URL", "https", "check AWS_ENDPOINT_URL"),
        ("AWS_CA_BUNDLE", "/no/such/file", "AWS_CA_BUNDLE names"),
        ("AWS_ACCESS_KEY_ID", "key\n", "control character"),
    ],
)
def test_a_request_that_cannot_be_sent(
    name: str, value: str, why: str, access: Access, monkeypatch: pytest.MonkeyPatch, s3: LoopbackS3
) -> None:
    secure = s3.endpoint.replace("http://", "https://")
    monkeypatch.setenv("AWS_ENDPOINT_URL", secure if name != "AWS_ACCESS_KEY_ID" else s3.endpoint)
    if value != "https":
        monkeypatch.setenv(name, value)
    with pytest.raises(Unreachable, match=f"no server is asked .*{why}"):
        s3_objects.head("s3://data/a", access)
