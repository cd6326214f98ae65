"""Secrets in recipes and overrides are refused without being repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from flows.recipe.file import RecipeError

RECIPE = "name: r\nstore: STORE\nsources:\n  web:\n    ingest: {format: text, paths: [a.txt]}\n"


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PLANTED_SECRET", "correct-horse-battery")
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "r.yaml").write_text(RECIPE.replace("STORE", str(tmp_path / "store")))
    return tmp_path / "r.yaml"


@pytest.mark.parametrize(
    ("override", "secret"),
    [
        ("sources.web.ingest.paths=['https://me:{}@host/a.txt']", "hunter2hunter2"),
        ("sources.web.ingest.paths=['https://host/a.txt?access_token={}']", "hunter2hunter2"),
        ("sources.web.ingest.paths=['https://host/a.txt?x={}']", "correct-horse-battery"),
        ("store=s3://key:{}@bucket/store", "hunter2hunter2"),
        ("store=s3://bucket/{}", "AKIAIOSFODNN7EXAMPLE"),
        ("sources.web.license={}", "hf_abcdefghijklmnopqrstuvwx"),
        ("token={}", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
        ("sources.{}.ingest={{format: text, paths: [a.txt]}}", "hf_abcdefghijklmnopqrstuvwx"),
    ],
)
def test_a_secret_is_refused_and_not_repeated(recipe: Path, override: str, secret: str) -> None:
    with pytest.raises(RecipeError, match=r"secret|password|token|key|PLANTED_SECRET") as refused:
        prepare(RunRequest.of(recipe, [override.format(secret)]))
    assert secret not in str(refused.value) and "environment" in str(refused.value)


def test_a_secret_in_the_address_of_the_store_is_refused(recipe: Path) -> None:
    with pytest.raises(RecipeError, match="--store: holds a password in an address") as refused:
        prepare(RunRequest.of(recipe, store="s3://key:hunter2hunter2@bucket"))
    assert "hunter2" not in str(refused.value)


def test_plain_names_are_none(recipe: Path) -> None:
    names = [
        "https://host/a.txt?key_id=1&page=2",
        "s3://sk-wikipedia-20240101-articles-multistream/a",
    ]
    for name in names:
        paths = f"sources.web.ingest.paths=['{name}']"
        limits = ["remote.retry_limit_s=0.01", "remote.retry_interval_s=0.001"]
        assert prepare(RunRequest.of(recipe, [paths, *limits])).plan.steps
