"""How a command ends that fails: with a sentence, or with JSON; never with a traceback."""

import contextlib
import io
import json
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import click

from cli.usage import language_of, shown, told
from texts import text

FAILED = 1  # what was asked was not done, or not all of it
# Of the doctor, whose 1 says that the chat works, and somebody should look at something.
FAILED_AS: dict[str | None, int] = {"doctor": 2}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Failed(click.ClickException):
    """A command ends with one sentence and the exit code 1; `key` names it for a machine."""

    exit_code = FAILED

    def __init__(self, message: str, key: str = "failed") -> None:
        super().__init__(message)
        self.key = key

    def show(self, file: Any = None) -> None:
        for line in self.message.splitlines():
            click.echo(f"sitechat: {line}", err=True)


class WrongLine(click.ClickException):
    """What click could not read is said in the language of the answer."""

    def __init__(self, error: click.UsageError, language: str) -> None:
        super().__init__(told(error, language))
        self._shown = shown(error, language)

    def show(self, file: Any = None) -> None:
        click.echo(self._shown, err=True)


class Signalled(SystemExit):
    """A signal asked us to end. What is under way is left as after a failure, tidily."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)  # as a shell says it
        self.name = signal.Signals(number).name


class Unread(Exception):
    """Nobody reads what we print any more, such as `head`; click would end with its own code."""


class Commands(click.Group):
    """A group of commands, of which each ends as this module says, also where click itself fails.

    With --json the output is JSON then, too.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise Unread from None

    def main(  # type: ignore[override]  # of its forms this is the one that is used
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **others: Any
    ) -> NoReturn:
        given = [*(sys.argv[1:] if args is None else args)]
        as_json, language = "--json" in given, language_of(given)
        code = FAILED_AS.get(next((one for one in given if one in self.commands), None), FAILED)
        try:
            sys.exit(super().main(given, prog_name, **others | {"standalone_mode": False}) or 0)
        except Failed as error:
            _tell(error, error.key, as_json)
            code = max(code, error.exit_code)
        except click.Abort:
            _tell(_ended(signal.SIGINT.name, language), "signal", as_json)
        except click.exceptions.NoArgsIsHelpError as error:
            _tell(error, "usage", as_json)
            code = error.exit_code
        except click.UsageError as error:
            _tell(WrongLine(error, language), "usage", as_json)
            code = error.exit_code
        except Signalled as error:
            _tell(_ended(error.name, language), "signal", as_json)
            code = int(str(error.code))
        except Unread:
            pass
        except Exception as error:
            _tell(Failed(f"{type(error).__name__}: {error}"), "unexpected", as_json)
        _drop_output()
        sys.exit(code)


def _ended(name: str, language: str) -> Failed:
    return Failed(text(language, "commands.ended", signal=name))


def _tell(error: click.ClickException, key: str, as_json: bool) -> None:
    if as_json:
        said = {"error": key, "text": error.format_message()}
        try:
            click.echo(json.dumps(said, ensure_ascii=False, indent=2))
            return
        except OSError:
            pass  # the output itself is what failed
    with contextlib.suppress(OSError):
        error.show()


def _drop_output() -> None:
    """What could not be printed is not tried again when Python ends."""
    with contextlib.suppress(OSError, AttributeError):
        sys.stdout.flush()
        return
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def end_at_signals() -> None:
    """Let a signal end us as an error does, with what is half made removed.

    A signal that we were started to ignore, by `nohup`, say, stays so.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        for one in SIGNALS:
            signal.signal(one, signal.SIG_IGN)  # a second one would stop the tidying up
        raise Signalled(number)

    for one in SIGNALS:
        if signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, end)


def open_standard_files() -> None:
    """Give a closed input or output a file that fails: else the next file we open would be it."""
    closed = []
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            mode = os.O_WRONLY if number == 0 else os.O_RDONLY
            os.open(os.devnull, mode)  # takes the lowest free number, this one
            closed.append(number)
    if 0 in closed:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if 1 in closed:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):  # a file's name, or a terminal, may be of any encoding
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
