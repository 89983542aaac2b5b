"""The rows of the table: what was measured, what is to be reached, and whether it is."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

NONE = "–"
REACHED, MISSED, PARTLY, UNJUDGED = "reached", "not reached", "reached, no example", NONE
HEAD = ("What", "Reach")
TAIL = ("Ours to PHP", "Reached")


@dataclass
class Row:
    """One line of the table. `cells` and `figures` go by the contestants' names."""

    what: str
    reach: str
    cells: dict[str, str] = field(default_factory=dict)
    ratio: float | None = None
    verdict: str = UNJUDGED
    pictured: str = ""  # its title in the picture; "": it is not there
    figures: dict[str, float] = field(default_factory=dict)  # what the picture's bars show
    less_is_better: bool = False

    def judge(self, own: bool, factor: float = 0.0) -> None:
        """`own`: whether our own figures are good; `factor`: the least ratio, if it counts."""
        if not own:
            self.verdict = MISSED
        elif not factor:
            self.verdict = REACHED
        elif self.ratio is None:
            self.verdict = PARTLY
        else:
            self.verdict = REACHED if self.ratio >= factor else MISSED

    def texts(self, names: Sequence[str]) -> list[str]:
        cells = [self.cells.get(name, NONE) for name in names]
        ratio = NONE if self.ratio is None else f"{rounded(self.ratio)} times"
        return [self.what, self.reach, *cells, ratio, self.verdict]


def rounded(number: float) -> str:
    """Three figures at most: 0.123, 12.3, 1,230."""
    if number >= 100:
        digits = -max(0, len(str(int(number))) - 3)
        return f"{round(number, digits):,.0f}"
    return f"{number:.3g}"


def median(numbers: Sequence[float]) -> float:
    return statistics.median(numbers) if numbers else float("nan")


def p95(numbers: Sequence[float]) -> float:
    if len(numbers) < 2:
        return numbers[0]
    return statistics.quantiles(numbers, n=20, method="inclusive")[-1]


def as_text(rows: Sequence[Row], names: Sequence[str]) -> str:
    """The table for a terminal: each row a small block, because a wide table breaks there."""
    lines = []
    for row in rows:
        what, reach, *cells, ratio, verdict = row.texts(names)
        lines += [f"{what}", f"    to reach: {reach}"]
        lines += [
            f"    {name + ':':18}{cell}"
            for name, cell in zip(names, cells, strict=True)
            if cell != NONE
        ]
        end = verdict if ratio == NONE else f"{ratio} the rate of PHP; {verdict}"
        lines += [f"    {'→ ' + end}"] if end != NONE else []
    return "\n".join(lines)


def as_markdown(rows: Sequence[Row], names: Sequence[str]) -> str:
    head = [*HEAD, *(name[0].upper() + name[1:] for name in names), *TAIL]
    return _table([head, *(row.texts(names) for row in rows)])


def _table(lines: Sequence[Sequence[str]]) -> str:
    head, *others = lines
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *others])


def in_columns(lines: Sequence[Sequence[str]]) -> str:
    """A table for a terminal."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def report(
    rows: Sequence[Row],
    names: Sequence[str],
    parts: Sequence[Sequence[str]],
    facts: dict[str, str],
    notes: Sequence[str],
) -> str:
    """The text of RESULTS.md. `parts`: the lines of the table of what a request is made of."""
    told = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    more = "\n".join(f"- {note}" for note in notes)
    return f"""# What `make bench` measured

Written by `make bench`, in one run on one machine; the contestants took turns, and each figure is
the median of several rounds. The "tutorials" are small stand-ins of our own, written from a
description of the vendor's (`bench/php/`, `bench/flask_polling/`).

![The figures as bars](results.svg)

{as_markdown(rows, names)}

## What a request is made of

The first three lines build on each other: each has all that the line above it has, and one part
more. Each of the others has all of the third line, and what its own request asks for.

{_table(parts)}

## The machine

{told}

## How to read it

{more}
"""
