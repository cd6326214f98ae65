"""What `puna deploy` describes: schedules, forms, automations, the file for `prefect deploy`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.utilities.callables import parameter_schema

from flows.deploying import automations
from flows.deploying.deployments import Deployment, as_yaml, described, job_variables, schedules
from flows.deploying.duty import Duty
from flows.monitoring.server import ENVIRONMENT
from flows.planning.request import RunRequest
from flows.recipe.file import RecipeError
from flows.recipe.read import read_recipe
from flows.recipe.secrets import CREDENTIAL

ROOT = Path(__file__).resolve().parents[3]


def deployments(duty: Duty) -> list[Deployment]:
    """Those of the demo recipe."""
    request = RunRequest.of("configs/demo.yaml", ["dedup.verify=0.9"], "s3://bucket/store")
    recipe = read_recipe(ROOT / request.recipe, request.overrides)
    return described(recipe, request, duty)


def named(deployments: list[Deployment], name: str) -> Deployment:
    return next(one for one in deployments if one.full_name == name)


def test_the_pipeline_every_stage_and_maintenance() -> None:
    duty = Duty(("0 3 * * 1", "0 3 * * *"), "Europe/Madrid", "skip", "skip", ("0 1 * * *",))
    made = deployments(duty)
    assert {one.full_name for one in made} >= {
        "puna/demo",
        "puna-maintenance/demo",
        "puna-stage/demo-langid",
        "puna-stage/demo-training",
        "puna-stage/demo-report",
    }
    pipeline = made[0]
    assert pipeline.crons == duty.crons and pipeline.timezone == "Europe/Madrid"
    assert pipeline.overlap == "skip" and "catch-up:skip" in pipeline.tags
    assert pipeline.parameters["overrides"] == ["dedup.verify=0.9"]
    langid = named(made, "puna-stage/demo-langid")
    assert langid.crons == () and langid.parameters["stage"] == "langid"
    care = named(made, "puna-maintenance/demo")
    assert care.crons == ("0 1 * * *",)
    assert care.parameters == {"store": "s3://bucket/store"}


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Every map within a schema."""
    if isinstance(schema, dict):
        yield schema
        for below in schema.values():
            yield from parts(below)
    elif isinstance(schema, list):
        for below in schema:
            yield from parts(below)


def test_forms_are_flat_and_say_what_each_field_means() -> None:
    """The dashboard draws no useful field for `anyOf`."""
    for one in deployments(Duty()):
        schema = parameter_schema(one.flow).model_dump()
        assert not any("anyOf" in part for part in parts(schema)), one.full_name
        for name, field in schema["properties"].items():
            assert len(field["description"]) > 10, (one.full_name, name)
        assert set(one.parameters) <= set(schema["properties"])
        assert set(schema["required"]) <= set(one.parameters)
    stage = parameter_schema(named(deployments(Duty()), "puna-stage/demo-cut").flow)
    assert {"cut", "tokenizer", "training"} <= set(stage.properties["stage"]["enum"])


@pytest.mark.parametrize(
    ("crons", "timezone", "named"),
    [
        (["every monday"], "UTC", "--cron 'every monday'"),
        (["0 3 * *"], "UTC", "--cron '0 3 * *'"),
        (["99 3 * * 1"], "UTC", "--cron '99 3 * * 1'"),
        (["0 3 * * 1"], "Europe/Atlantis", "--timezone 'Europe/Atlantis'"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(
    crons: list[str], timezone: str, named: str
) -> None:
    with pytest.raises(RecipeError, match="five fields") as refused:
        schedules(crons, timezone)
    assert named in str(refused.value)


@pytest.mark.parametrize(
    "word",
    [
        "sources.a.ingest.paths=[https://user:pw@host/x.warc.gz]",
        "sources.a.ingest.paths=[https://host/x?X-Amz-Signature=pw]",
        "s3://key:pw@bucket",
        "HF_TOKEN=pw",
        "remote.AWSSecretAccessKey=pw",
        "a.password=pw",
        "model.base=hf_pwpwpwpwpwpwpwpwpw",
    ],
)
def test_forms_refuse_options_with_credentials(word: str) -> None:
    assert re.search(CREDENTIAL, word)


@pytest.mark.parametrize(
    "word",
    [
        "training.phases.0.tokens=3M",
        "sources.turkey.ingest.paths=[a@b/c]",
        "model.base=hf://org/name@3fa91c",
        "tokenizer.base=artifact:demo/tokenizer/main@latest",
        "s3://bucket/prefix",
        "model.base=hf://gpt2@main",
        "sources.a.ingest.paths=[https://host/a?key_id=1]",
    ],
)
def test_other_options_are_not(word: str) -> None:
    assert not re.search(CREDENTIAL, word)


def test_the_file_for_prefect_deploy_is_current() -> None:
    """`make docs` writes it."""
    request = RunRequest.of("configs/demo.yaml")
    recipe = read_recipe(ROOT / request.recipe)
    made = described(recipe, request, Duty(("0 3 * * 1",), maintenance=("0 1 * * *",)))
    written = (ROOT / "infra" / "prefect.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(written) == yaml.safe_load(as_yaml(made, "puna"))


def test_processes_of_workers_run_where_paths_mean_the_same() -> None:
    assert job_variables("process", "/here")["working_dir"] == "/here"
    assert "working_dir" not in job_variables("kubernetes", "/here")
    assert job_variables("docker", "/here")["env"].items() >= ENVIRONMENT.items()


def test_a_run_is_dead_only_after_several_heartbeats_are_missing() -> None:
    silence = next(one for one in automations.described() if one.name == "puna: no heartbeat")
    trigger = json.loads(silence.trigger.model_dump_json())
    beat = int(ENVIRONMENT["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
    assert trigger["within"] >= 5 * beat
    assert trigger["expect"] == ["prefect.flow-run.*"]  # a state of any name shows life
