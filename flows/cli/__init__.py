"""The `puna` command. Results go to stdout, progress and errors to stderr.

Exit codes: 0 done or nothing to do, 1 a stage failed, 2 bad recipe or arguments, 3 a gate stopped
the run or it was not promoted, 75 interrupted and resumable. Heavy imports are inside the commands,
so that `puna --help` is quick.
"""

from __future__ import annotations

import inspect as introspection
import logging

import typer

from flows.cli import artifacts, dashboard, streams, tokenizer
from flows.cli.common import EXIT_FAILED, say
from flows.cli.deploying import deploy, serve
from flows.cli.evaluating import evaluate
from flows.cli.export import export
from flows.cli.inspect import inspect
from flows.cli.planning import plan
from flows.cli.promoting import promote
from flows.cli.pushing import push
from flows.cli.reporting import report
from flows.cli.running import run
from flows.cli.setting_up import doctor, init, schema
from flows.cli.trace import trace
from infra.secrets import without_secrets

app = typer.Typer(
    help="Puna: from web crawls and a base Llama to an adapted model with measured benchmarks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
COMMANDS = (
    run,
    plan,
    deploy,
    serve,
    evaluate,
    report,
    promote,
    inspect,
    trace,
    export,
    push,
    doctor,
    init,
)
for command in COMMANDS:
    app.command()(command)
GROUPS = {"artifacts": artifacts.app, "tokenizer": tokenizer.app, "dashboard": dashboard.app}
for name, group in GROUPS.items():
    app.add_typer(group, name=name, short_help=group.info.help)
app.command()(schema)
for group in (app, *GROUPS.values()):
    for registered in group.registered_commands:
        # without it, lists of commands cut the help to 45 characters
        registered.short_help = (introspection.getdoc(registered.callback) or "").split("\n\n")[0]


def main() -> None:
    """Entry point of the `puna` command."""
    streams.protect()
    # without a handler, warnings of libraries go to the terminal
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        with without_secrets():
            app()
    except SystemExit as ended:
        if why := streams.lost():
            say(f"error: stdout cannot be written ({why}): what was printed is not complete")
            raise SystemExit(ended.code or EXIT_FAILED) from None
        raise
