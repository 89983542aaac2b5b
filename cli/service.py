"""`serve`, `run` and `uninstall`."""

import os
import sys

import click

from cli.parts import Desk, command
from operations.archive import Stopped
from settings import ROOT
from texts import Wrong


@click.command("serve", context_settings={"ignore_unknown_options": True})
@click.option("--bind", "-b", metavar="HOST:PORT", help="Where to listen; 127.0.0.1:8080 if not.")
@click.option("--host", "-h", hidden=True)
@click.option("--port", "-p", type=click.IntRange(1, 65_535), hidden=True)
@click.option("--workers", "-w", type=click.IntRange(1, 64), help="Processes; WEB_CONCURRENCY.")
@command
def serve_command(
    desk: Desk, bind: str | None, host: str | None, port: int | None, workers: int | None
) -> None:
    """Serve the chat and deliver its messages, as `gunicorn` in the project's folder does."""
    _ = desk.settings  # a mistake in them is said before anything begins
    desk.become_service()
    if host or port:
        bind = f"{host or '127.0.0.1'}:{port or 8080}"
    command_line = [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "gunicorn.conf.py")]
    command_line += ["--bind", bind] if bind else []
    if workers:
        os.environ["WEB_CONCURRENCY"] = str(workers)
    os.chdir(ROOT)
    sys.stdout.flush()
    os.execv(sys.executable, command_line)  # noqa: S606  # its signals and its exit code are ours


def wrong(key: str) -> Wrong:
    return Wrong(f"commands.{key}")


__all__ = ["Stopped", "serve_command"]
