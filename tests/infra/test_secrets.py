"""What counts as a secret, and errors without them, whatever they are made of."""

from __future__ import annotations

import pickle
import traceback
from pathlib import Path

import pytest

from infra.engine.launch import LaunchError
from infra.secrets import (
    is_secret_name,
    of_environment,
    redacted,
    redacted_error,
    secret_in,
    without_secrets,
)

TOKEN = "hf_plantedplantedplanted"
KNOWN = {"MY_API_KEY": "correct-horse-battery"}


@pytest.mark.parametrize(
    ("text", "without"),
    [
        (f"login with {TOKEN}: refused", "login with [a token of Hugging Face]: refused"),
        ("key AKIAIOSFODNN7EXAMPLE", "key [a key of AWS]"),
        ("http://me:pw@host/a and s3://k:s@b/c", "http://host/a and s3://b/c"),
        ("https://h/a?X-Amz-Signature=1f&page=2", "https://h/a?X-Amz-Signature=[secret]&page=2"),
        ("https://h/a?p=1&accessToken=1f\nnext", "https://h/a?p=1&accessToken=[secret]\nnext"),
        ("http://me:p@w@host/a", "http://host/a"),
        ("https://planted@host/a", "https://host/a"),
        ("{'u': 'https://h/a?token=\"1f\"'}", "{'u': 'https://h/a?token=\"[secret]\"'}"),
        ("https://h/#access_token=1f", "https://h/#access_token=[secret]"),
        (r"https://h/?a=1\u0026sig=1f\u0026b=2", r"https://h/?a=1\u0026sig=[secret]\u0026b=2"),
        ("u=https%3A%2F%2Fh%3Fsig%3D1%2Bf%26b%3D2", "u=https%3A%2F%2Fh%3Fsig%3D[secret]%26b%3D2"),
        ("Authorization: Bearer planted-token", "Authorization: [secret]"),
        ("{'x-amz-security-token': 'planted=='}", "{'x-amz-security-token': '[secret]'}"),
        ("Cookie: session=planted; a=b\nnext", "Cookie: [secret]\nnext"),
        ("sent Bearer planted.token", "sent Bearer [secret]"),
        ("it is correct-horse-battery!", "it is [value of MY_API_KEY]!"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nend",
            "[a private key]\nend",
        ),
        ("-----BEGIN PRIVATE KEY-----\ncut off here", "[a private key]"),
    ],
)
def test_secrets_are_left_out_of_text(text: str, without: str) -> None:
    assert redacted(text, KNOWN) == without
    assert redacted(without, KNOWN) == without


@pytest.mark.parametrize(
    "text",
    [
        "hf://datasets/org/name@main/a.parquet",
        "s3://sk-wikipedia-20240101-articles-multistream/a",
        "https://host/a?key_id=1&page=2",
        "sorted(rows, key=by_name)",
        "training.phases.0.tokens=3M",
        "12:30:00 me@host",
        "https://host/@user and https://host:8080/a, me@host",
        "a cookie: yes",
        "authorization: none",
        "bearer of news",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert redacted(text, KNOWN) == text and secret_in(text, KNOWN) == ""


def test_what_a_secret_s_name_is() -> None:
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "x-api-key", "sig", "db.password", "jwt"):
        assert is_secret_name(name), name
    for name in ("tokens", "key_id", "monkey", "author", "design", "tokenizer", "secretary"):
        assert not is_secret_name(name), name


def test_secrets_of_the_environment(tmp_path: Path) -> None:
    environment = {
        "HTTPS_PROXY": "http://me:one%2Fplanted@proxy:8080",
        "PREFECT_API_AUTH_STRING": "somebody:planted-two",
        "PUNA_WEBHOOK_URL": "https://hooks.test/planted-three",
        "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path),
        "PWD": str(tmp_path),
        "SHORT_TOKEN": "test",
        "EDITOR": "planted-four",
    }
    assert of_environment(environment) == {
        "https://hooks.test/planted-three": "PUNA_WEBHOOK_URL",
        "somebody:planted-two": "PREFECT_API_AUTH_STRING",
        "planted-two": "PREFECT_API_AUTH_STRING",
        "one%2Fplanted": "HTTPS_PROXY",
        "one/planted": "HTTPS_PROXY",
    }
    assert secret_in("a one/planted b", environment) == "the value of HTTPS_PROXY"


def test_an_error_keeps_its_kind_and_its_causes_without_secrets() -> None:
    def fail() -> None:
        try:
            Path(f"/nowhere/{TOKEN}").read_text()
        except OSError as missing:
            missing.add_note(f"note {TOKEN}")
            launched = LaunchError(["train", TOKEN], 1, f"Traceback\n{TOKEN}\n")
            raise launched from missing

    with pytest.raises(LaunchError) as raised, without_secrets():
        fail()
    error = raised.value
    told = "".join(traceback.format_exception(error))
    assert TOKEN not in told and TOKEN not in error.tail
    assert told.count("[a token of Hugging Face]") >= 4
    missing = error.__cause__
    assert isinstance(missing, FileNotFoundError)
    assert missing.filename == "/nowhere/[a token of Hugging Face]"


def test_errors_in_groups_and_in_bytes_are_looked_at() -> None:
    group = ExceptionGroup("two", [ValueError(TOKEN), KeyError(TOKEN.encode())])
    clean = redacted_error(group)
    assert clean is group and TOKEN not in "".join(traceback.format_exception(group))


class Stubborn(Exception):
    """Its text is made of nothing that can be set."""

    def __str__(self) -> str:
        return f"cannot use {TOKEN}"


def test_an_error_that_cannot_be_changed_is_replaced() -> None:
    expected = r"^Stubborn: cannot use \[a token"
    with pytest.raises(RuntimeError, match=expected) as raised, without_secrets():
        raise Stubborn
    assert TOKEN not in "".join(traceback.format_exception(raised.value))


def test_an_error_without_secrets_stays_itself() -> None:
    error = ValueError("plain", {"a": 1})
    assert redacted_error(error) is error and error.args == ("plain", {"a": 1})
    assert pickle.loads(pickle.dumps(error)).args == error.args
