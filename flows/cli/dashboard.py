"""`puna dashboard`: the local Prefect server."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.common import EXIT_FAILED, put, say

app = typer.Typer(help="The local Prefect server that shows runs.", no_args_is_help=True)


@app.command("start")
def start(
    port: Annotated[
        int | None, typer.Option("--port", help="Port; the first free one from 4200 by default.")
    ] = None,
) -> None:
    """Start the dashboard, or print the address of the running one."""
    from flows.monitoring import server

    server.prepare_environment()
    try:
        found = server.start(port)
        put(found.address)
        if port not in (None, found.port):
            say(
                f"error: it is already running on port {found.port}, not {port}; to move it: puna "
                f"dashboard stop, then puna dashboard start --port {port}"
            )
            raise typer.Exit(EXIT_FAILED)
    except server.ServerFailed as error:
        say(f"error: {error}")
        raise typer.Exit(EXIT_FAILED) from None


@app.command("stop")
def stop() -> None:
    """Stop the dashboard; the history of runs is kept."""
    from flows.monitoring import server

    put("stopped" if server.stop() else "no dashboard was running")


@app.command("status")
def status() -> None:
    """Print whether the dashboard is running, and its address."""
    from flows.monitoring import server

    found = server.running()
    put(
        f"running at {found.address} (process {found.pid})"
        if found
        else "not running; start it: puna dashboard start"
    )
