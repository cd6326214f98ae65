"""The command line: documented, quick, and clear when refusing."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from tokenizers import Tokenizer, models, pre_tokenizers
from typer.main import get_command
from typer.testing import CliRunner

from flows.cli import app
from flows.recipe.read import recipe_schema
from infra.store import Store
from tests.stage_harness import run_stage
from tests.toy import TOY, ToyParameters

ROOT = Path(__file__).resolve().parents[3]
PUNA = Path(sys.executable).with_name("puna")


def commands(
    group: typer.core.TyperGroup, prefix: str = "puna"
) -> list[tuple[str, typer.core.TyperCommand]]:
    """Every command with its full name."""
    found = []
    for name, command in group.commands.items():
        path = f"{prefix} {name}"
        found += commands(command, path) if hasattr(command, "commands") else [(path, command)]
    return found


ALL = commands(get_command(app))


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_every_command_and_option_is_documented(
    name: str, command: typer.core.TyperCommand
) -> None:
    assert command.help and command.help.strip().endswith("."), f"{name} has no sentence of help"
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert f"`{name}`" in text, f"{name} is not in docs/commands.md; run: make docs"
    section = text.partition(f"# `{name}`")[2].partition("\n## ")[0]
    for parameter in command.params:
        for option in parameter.opts:
            if option.startswith("--") and option != "--help":
                assert option in section, (
                    f"{name} {option} is not in docs/commands.md; run: make docs"
                )
                assert parameter.help, f"{name} {option} has no help"


def test_the_schema_for_editors_is_current() -> None:
    written = json.loads((ROOT / "configs" / "recipe.schema.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(recipe_schema())), "run: make docs"


def test_help_is_quick() -> None:
    """`--help` imports only what parses words, and nothing that reads recipes or data, which takes
    longer.
    """
    slow = "('pydantic', 'yaml', 'numpy', 'pyarrow', 'torch', 'prefect', 'rich.progress')"
    code = f"import sys, flows.cli; print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert (
        "Usage: puna"
        in subprocess.run([PUNA, "--help"], capture_output=True, text=True, check=True).stdout
    )


def test_init_writes_a_recipe_that_reads(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    assert CliRunner().invoke(app, ["init", str(file)]).exit_code == 0
    planned = CliRunner().invoke(
        app, ["plan", str(file), "--json", "--store", str(tmp_path / "store")]
    )
    # it reads; what it names for example is not there, each told once with its line
    assert planned.exit_code == 2, planned.output
    told = re.findall(r"(\S+): no file or folder matches", planned.stderr)
    names = ["text/*.jsonl", "base-model"]
    assert [Path(name).relative_to(tmp_path).as_posix() for name in told] == names
    assert CliRunner().invoke(app, ["init", str(file)]).exit_code == 2


def test_tokenizers_are_compared_and_missing_ones_named(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "text.txt").write_text("ab\nabc\n")
    words = ["tokenizer", "compare", str(tmp_path), "--text", str(tmp_path / "text.txt")]
    row = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)["tokenizers"][0]
    assert (row["vocabulary"], row["samples"], row["tokens"], row["unknown"]) == (3, 2, 5, 1)
    assert "| 3 |" in " ".join(CliRunner().invoke(app, words).stdout.split())
    refused = CliRunner().invoke(
        app, ["tokenizer", "compare", "tokenizer/main", *words[3:], "--store", str(tmp_path)]
    )
    assert refused.exit_code == 2 and "tokenizer/main" in refused.stderr


def test_tokenizers_that_cannot_be_read_leave_the_others_compared(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "text.txt").write_text("a\n")
    given = [str(tmp_path / "tokenizer.json"), str(tmp_path / "gone"), "tokenizer/main"]
    words = [
        "tokenizer",
        "compare",
        *given,
        "--text",
        str(tmp_path / "text.txt"),
        "--store",
        str(tmp_path),
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2 and "| tokenizer.json |" in " ".join(done.stdout.split())
    assert (
        "gone does not exist" in done.stderr
        and "has no stage" not in done.stdout
        and "tokenizer/main" in done.stderr
    )
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert len(found["tokenizers"]) == 1 and len(found["unread"]) == 2


def test_the_path_of_an_artifact_is_that_of_files_that_are_there(tmp_path: Path) -> None:
    artifact = run_stage(TOY, ToyParameters(), tmp_path=tmp_path)
    words = ["artifacts", "path", "toy/main", "--store", str(tmp_path / "store")]
    Store.at(str(tmp_path / "store")).set_reference("r", artifact, "latest")
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0 and Path(done.stdout.strip()) == artifact.data.local_root
    shutil.rmtree(artifact.folder())
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1 and done.stdout == ""
    assert "part-00000.txt is missing" in done.stderr and "--force toy/main" in done.stderr


def test_a_path_of_an_override_is_relative_to_what_its_error_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "r.yaml").write_text(
        "name: r\nsources: {a: {ingest: {format: text, paths: [gone.txt]}}}\n"
    )
    (tmp_path / "here.txt").write_text("text")
    monkeypatch.chdir(tmp_path)
    run = ["run", str(folder / "r.yaml"), "--store", str(tmp_path / "s")]
    said = CliRunner().invoke(app, run).stderr
    assert (
        f"{folder / 'gone.txt'}: no file or folder matches" in said
        and "those of -s to the working directory" in said
    )
    said = CliRunner().invoke(app, [*run, "-s", "sources.a.ingest.paths=[gone.txt]"]).stderr
    assert f"{tmp_path / 'gone.txt'}: no file or folder matches" in said
    plan = ["plan", *run[1:], "--json", "-s", "sources.a.ingest.paths=[here.txt]"]
    assert json.loads(CliRunner().invoke(app, plan).stdout)["stages"][0]["result"] == "run"


def test_run_refuses_what_is_not_there_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("name: r\nsources:\n  a:\n    ingest: {format: text, paths: [nothing.txt]}\n")
    done = subprocess.run(
        [PUNA, "run", file, "--store", tmp_path / "s"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "nothing.txt: no file or folder matches" in done.stderr
    assert not (tmp_path / "s").exists()


def test_an_option_that_counts_once_is_not_ignored_when_given_twice() -> None:
    recipe = str(ROOT / "configs" / "demo-base.yaml")
    for option in ("--from", "--until"):
        done = CliRunner().invoke(app, ["plan", recipe, option, "cut", option, "select"])
        assert done.exit_code == 2 and f"{option} is given 2 times (cut, select)" in done.stderr


def test_a_store_that_is_none_is_refused_by_every_command(tmp_path: Path) -> None:
    file, cli = tmp_path / "r.yaml", CliRunner()
    file.write_text("name: r\nsources:\n  a:\n    ingest: {format: text, paths: [r.yaml]}\n")
    for command in (
        ["artifacts", "list"],
        ["artifacts", "verify"],
        ["artifacts", "gc"],
        ["artifacts", "show", "a/b"],
    ):
        refused = cli.invoke(app, [*command, "--store", str(tmp_path / "nothing")])
        assert refused.exit_code == 2 and "there is no store at" in refused.output, command
    for command in (["plan", str(file)], ["run", str(file)], ["artifacts", "list"]):
        refused = cli.invoke(app, [*command, "--store", str(file)])
        assert refused.exit_code == 2 and "r.yaml is a file" in refused.output, command
    refused = cli.invoke(
        app, ["plan", str(file), "--store", "memory://x", "-s", "engine.kind=processes"]
    )
    assert refused.exit_code == 2 and "set engine.kind=inline" in refused.output


def test_gc_tells_age_and_cost_and_asks_before_it_takes_a_trained_model(tmp_path: Path) -> None:
    """A stage of that name stands for training."""
    trained = dataclasses.replace(TOY, name="training")
    made = run_stage(trained, ToyParameters(), name="one", tmp_path=tmp_path)
    run_stage(TOY, ToyParameters(), tmp_path=tmp_path)
    cli, command = CliRunner(), ["artifacts", "gc", "--store", str(tmp_path / "store")]
    listed = cli.invoke(app, command)
    (line,) = (line for line in listed.stdout.splitlines() if made.identity in line)
    assert " kB " in line and " s old" in line and "built in " in line
    assert "2 items" in listed.stdout and "1 of them of training" in listed.stdout
    refused = cli.invoke(app, [*command, "--apply"])
    assert refused.exit_code == 2 and "with --yes only" in refused.stderr
    assert len(list(Store.at(str(tmp_path / "store")).artifacts())) == 2
    done = cli.invoke(app, [*command, "--apply", "--yes", "--json"])
    items = json.loads(done.stdout)["items"]
    assert {item["item"].partition("/")[0] for item in items} == {"toy", "training"}
    assert not list(Store.at(str(tmp_path / "store")).artifacts())
