"""What is wrong with a command line, in the language of the answer.

click itself says it in the language of its own catalogues, which is English alone. `--help` is
click's.
"""

from collections.abc import Sequence
from itertools import pairwise

import click

from texts import language_of_system, languages, text


def language_of(given: Sequence[str]) -> str:
    """The language that a command line asks for, right or wrong; else that of the terminal."""
    words = [part for one in given for part in one.split("=", 1)]
    asked = [after for one, after in pairwise(words) if one == "--lang"]
    return next((one for one in asked if one in languages()), language_of_system())


def told(error: click.ClickException, language: str) -> str:
    """What is wrong, in one sentence or two."""
    key, values = _kind(error)
    said = text(language, f"commands.usage_{key}", **values)
    if near := ", ".join(getattr(error, "possibilities", None) or []):
        said += " " + text(language, "commands.usage_near", near=near)
    return said


def shown(error: click.UsageError, language: str) -> str:
    """What is wrong, below how the command is written and how more is learnt of it."""
    lines = [told(error, language)]
    if context := error.ctx:
        pieces = " ".join(context.command.collect_usage_pieces(context))
        path = context.command_path
        lines = [
            text(language, "commands.usage", usage=f"{path} {pieces}"),
            text(language, "commands.usage_help", command=f"{path} --help"),
            "",
            *lines,
        ]
    return "\n".join(lines)


def _kind(error: click.ClickException) -> tuple[str, dict[str, object]]:
    """Which text says it, and with what."""
    key, name = "other", ""
    match error:
        case click.NoSuchOption():
            key, name = "no_option", error.option_name
        case click.exceptions.NoSuchCommand():
            key, name = "no_command", error.command_name
        case click.MissingParameter():
            key, name = "missing", _name_of(error)
        case click.BadParameter():
            return _bad(error)
        case click.BadOptionUsage():
            takes_none = "not take a value" in error.message  # click has no other difference
            key, name = "no_value" if takes_none else "value_missing", error.option_name
        case click.UsageError() if "unexpected extra" in error.message:
            key, name = "extra", error.message.partition("(")[2].rpartition(")")[0]
    return key, {"name": name, "why": error.format_message()}


def _bad(error: click.BadParameter) -> tuple[str, dict[str, object]]:
    """What a value has to be."""
    name, kind = _name_of(error), error.param.type if error.param else None
    if isinstance(kind, click.Choice):
        return "choice", {"name": name, "choices": ", ".join(map(str, kind.choices))}
    if isinstance(kind, click.IntRange):
        return "range", {"name": name, "least": kind.min, "most": kind.max}
    if isinstance(kind, click.Path):  # any name may be given, but we must be able to read the file
        return "unreadable", {"name": name}
    return "other", {"why": error.format_message()}


def _name_of(error: click.BadParameter) -> str:
    """As the line of usage has it: `FILE`, or `--days`."""
    if isinstance(error.param, click.Option):
        return max(error.param.opts, key=len)
    return error.param.make_metavar(error.ctx).strip("[]") if error.param and error.ctx else ""
