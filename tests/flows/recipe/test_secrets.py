"""Secrets in recipes and overrides are refused without being repeated."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.cli.doctor_services import services
from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from flows.recipe.file import RecipeError
from flows.recipe.read import read_recipe
from infra.remote.locations import shown

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


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://me:hunter2@host:4200/api", "http://host:4200/api"),
        ("https://token@host/a?sig=hunter2", "https://host/a"),
        ("s3://key:hunter2@bucket/a", "s3://bucket/a"),
        ("hf://gpt2@main/config.json", "hf://gpt2@main/config.json"),
        ("hf://org/base@v1/a:b@c", "hf://org/base@v1/a:b@c"),
        ("/a/b:c@d", "/a/b:c@d"),
    ],
)
def test_messages_show_addresses_without_secrets(url: str, told: str) -> None:
    assert shown(url) == told


def test_a_command_on_a_store_refuses_a_password() -> None:
    store = "s3://key:hunter2hunter2@bucket"
    done = CliRunner().invoke(app, ["artifacts", "list", "--store", store])
    assert done.exit_code == 2 and "holds a password" in done.output
    *_, found = services(store)
    assert found.verdict == "bad" and "holds a password" in found.found
    assert "hunter2" not in done.output + found.found + found.action


def test_plain_names_are_none(recipe: Path) -> None:
    names = [
        "https://host/a.txt?key_id=1&page=2",
        "s3://sk-wikipedia-20240101-articles-multistream/a",
    ]
    for name in names:
        paths = f"sources.web.ingest.paths=['{name}']"
        limits = ["remote.retry_limit_s=0.01", "remote.retry_interval_s=0.001"]
        assert prepare(RunRequest.of(recipe, [paths, *limits])).plan.steps


def test_a_key_in_place_of_its_variable_is_refused_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        """
name: r
sources: {web: {ingest: {format: jsonl, paths: [a.jsonl]}, category: web}}
labels:
  edu:
    sources: [web]
    prompt: "{text}"
    endpoint: {url: "http://localhost:1/v1", model: m, key: sk-12345}
"""
    )
    with pytest.raises(RecipeError) as refused:
        read_recipe(tmp_path / "r.yaml")
    assert "labels.edu.endpoint.key: is to name an environment variable" in str(refused.value)
    assert "sk-12345" not in str(refused.value)


@pytest.mark.parametrize("stated", ["http://hunter2@host", "host:9000", "https://h/?x=1", "s3://b"])
def test_the_address_of_an_s3_is_one_and_holds_no_login(recipe: Path, stated: str) -> None:
    with pytest.raises(RecipeError, match="is no address of an S3; write http://host:port") as why:
        read_recipe(recipe, (f"remote.s3_endpoint={stated}",))
    assert "hunter2" not in str(why.value)
    read_recipe(recipe, ("remote.s3_endpoint=https://host:9000/path",))
