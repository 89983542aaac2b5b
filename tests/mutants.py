"""`make mutants`: how many small random faults in the code do its tests find?

A mutant is the product with one small change: a comparison turned, a call left out, a limit moved.
It is written into a copy of the tree, and the tests that must find it run there. One that they do
not find is printed: a test is missing, or the change makes no difference (harmless.py).

    make mutants ARGS="--seed 7 --number 40 delivery storage"

mutmut and cosmic-ray try every mutant there is, which takes days here, and change no SQL.
"""

import argparse
import ast
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import SimpleQueue

from harmless import EQUIVALENT

ROOT = Path(__file__).parent.parent
PROCESSES = 2
ENOUGH = 0.95  # of the mutants must be found
NOT_COPIED = shutil.ignore_patterns(".*", "chats", "build", "*.egg-info", "__pycache__")
IN_MEMORY = Path("/dev/shm")  # where the system has it, no test waits for the disk
PYTEST = ["-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider"]
ENGINE = ("tests/delivery",)
STORE = ("tests/store",)
# Modules, as globs, so that one may become a package; and the tests that must find a fault in them,
# those first that find most. Before all of them come a module's own tests (`tests_of`).
TABLE = {
    ("delivery/**/*.py",): ENGINE,
    ("store/**/*.py",): STORE + ENGINE,
    ("live.py",): ("tests/test_live_edges.py",),
    ("portal/**/*.py",): ("tests/portal",),
}

PYTHON_CHANGES = (
    "< → <=, < → >=, <= → <, <= → >, > → >=, > → <=, >= → >, >= → <, == → !=, != → ==, "
    "is → is not, is not → is, in → not in, not in → in"
)
SQL_CHANGES = (
    " and → or, < → <= , <= → < , > → >= , >= → > ,desc → , is null → is not null, "
    "is not null → is null, = null → = 0, + 1 → + 2, = 1 → = 0"
)
ARITHMETIC = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*"}
SQL = re.compile(r"\s*\(?(select|update|insert|delete|on conflict|from|where|order|and|case)\b")


def tests_of(file: Path, those: tuple[str, ...]) -> tuple[str, ...]:
    """The tests of one module, each a file: those of its name first, tests/store/test_queue*.py."""
    folder = ROOT / "tests" / file.parent
    own = sorted(folder.glob(f"test_{file.stem}*.py")) if file.parent.name else []
    others = [found for test in those for found in sorted((ROOT / test).glob("test_*.py"))]
    files = [path.relative_to(ROOT).as_posix() for path in (*own, *others)]
    return tuple(dict.fromkeys([*files, *(test for test in those if test.endswith(".py"))]))


def _pairs(changes: str) -> list[tuple[str, str]]:
    pairs = (one.partition("→") for one in changes.split(","))
    return [(old.strip(), new.strip()) for old, _, new in pairs]


@dataclass(frozen=True)
class Mutant:
    """One change: `new` stands in place of some bytes of a file."""

    file: Path  # from the root
    start: int
    end: int
    new: str

    def source(self) -> bytes:
        return self._changed(0, None)

    def lines(self) -> tuple[str, str]:
        """What is changed, in whole lines, before and after."""
        source = (ROOT / self.file).read_bytes()
        first, last = source.rfind(b"\n", 0, self.start) + 1, source.find(b"\n", self.end)
        both = source[first:last], self._changed(first, last)
        old, new = (" ".join(one.decode().split()) for one in both)
        return old, new

    def _changed(self, first: int, last: int | None) -> bytes:
        source = (ROOT / self.file).read_bytes()
        return source[first : self.start] + self.new.encode() + source[self.end : last]

    def __str__(self) -> str:
        number = (ROOT / self.file).read_bytes().count(b"\n", 0, self.start) + 1
        return "{}:{}\n  - {}\n  + {}".format(self.file, number, *self.lines())


# -- the changes


def mutants_of(file: Path) -> Iterator[Mutant]:
    """Every small change of a module that we know how to make."""
    source = (ROOT / file).read_bytes()
    starts = [0, *(place.end() for place in re.finditer(rb"\n", source))]
    for node, text in _changes(ast.parse(source), top=True):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        if text is not None:
            yield Mutant(file, start, end, text)
            continue
        for old, new in _pairs(SQL_CHANGES):
            for place in re.finditer(
                rb"(?<![\w<>=])%b(?![\w<>=])" % re.escape(old.encode()), source[start:end]
            ):
                yield Mutant(file, start + place.start(), start + place.end(), new)


def _changes(node: ast.AST, top: bool = False) -> Iterator[tuple[ast.expr | ast.stmt, str | None]]:
    """Nodes, and what may stand in their place; None for a text in SQL."""
    if _is_left_alone(node):
        return
    if isinstance(node, ast.JoinedStr):  # what stands in it has no place of its own
        texts = [str(one.value) for one in node.values if isinstance(one, ast.Constant)]
        yield from ((node, None) for one in texts[:1] if SQL.match(one))
        return
    if isinstance(node, ast.expr | ast.stmt):
        yield from ((node, text) for text in _replacements(node))
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "format_spec"):
            continue
        for part in value if isinstance(value, list) else [value]:
            match part:
                case ast.Assign(value=ast.Constant(value=int() | float() as size) as place) if top:
                    # The size of a limit is a choice; three times as large is another one.
                    smaller = max(1, size // 3) if isinstance(size, int) else size / 3
                    yield from ((place, str(one)) for one in (smaller, size * 3) if one != size)
                case ast.AST():
                    yield from _changes(part)


def _is_left_alone(node: ast.AST) -> bool:
    """Docstrings, logs, reprs, the schema, errors raised, and what only guards against us."""
    match node:
        case (
            ast.Expr(value=ast.Constant())
            | ast.FunctionDef(name="__repr__")
            | ast.Raise()
            | ast.keyword(arg="strict")
            | ast.Call(func=ast.Attribute(value=ast.Name(id="log")) | ast.Name(id="field"))
            | ast.Assign(targets=[ast.Name(id="MIGRATIONS")])
        ):
            return True
    return False


def _replacements(node: ast.expr | ast.stmt) -> Iterator[str | None]:
    match node:
        case ast.Expr(value=ast.Call(func=func)) if not ast.unparse(func).startswith("log."):
            yield "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript() | ast.Tuple()]):
            yield "pass"
        case ast.AugAssign(target, op, value) if type(op) in ARITHMETIC:
            yield from (f"{ast.unparse(target)} {ARITHMETIC[type(op)]}= {_text(value)}", "pass")
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield "return None"
        case ast.expr():
            yield from _expressions(node)


def _expressions(node: ast.expr) -> Iterator[str | None]:
    match node:
        case ast.Compare(left, ops, comparators):
            yield from _comparisons([_text(one) for one in (left, *comparators)], ops)
        case ast.BoolOp(op, values):
            yield (" or " if isinstance(op, ast.And) else " and ").join(map(_text, values))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield _text(operand)
        case ast.Constant(value=bool() as value):
            yield str(not value)
        case ast.Constant(value=int() | float() as value) if str(value) != "0.0":  # long ago
            yield from map(str, (value - 1, value + 1) if value < 20 else (value // 2, value * 2))
        case ast.Constant(value=str() as value) if SQL.match(value):
            yield None
        case ast.BinOp(left, op, right) if type(op) in ARITHMETIC:
            yield f"{_text(left)} {ARITHMETIC[type(op)]} {_text(right)}"
        case ast.Call(func=ast.Name(id="min" | "max" as name)):
            yield {"min": "max", "max": "min"}[name] + ast.unparse(node)[3:]


def _comparisons(parts: list[str], ops: list[ast.cmpop]) -> Iterator[str]:
    signs = [ast.unparse(ast.Compare(ast.Name("a"), [op], [ast.Name("b")]))[2:-2] for op in ops]
    for place, sign in enumerate(signs):
        for other in (new for old, new in _pairs(PYTHON_CHANGES) if old == sign):
            turned = zip([*signs[:place], other, *signs[place + 1 :]], parts[1:], strict=True)
            yield " ".join([parts[0], *(f"{one} {part}" for one, part in turned)])


def _text(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if isinstance(node, ast.Name | ast.Constant | ast.Call) else f"({text})"


# -- the tests


def failed_test(folder: Path, tests: tuple[str, ...]) -> str:
    """Run the tests in a copy of the tree until one fails; its name, or "" when all pass."""
    command = ["nice", "-n10", sys.executable, *PYTEST, f"--basetemp={folder}.tests", *tests]
    env = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    try:  # a test without an end is ended by pytest
        ended = subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, timeout=900, check=False
        )
    except subprocess.TimeoutExpired:
        return "no end"
    failed = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(\S+)", ended.stdout, re.MULTILINE)
    return "" if ended.returncode == 0 else failed[1] if failed else ended.stdout[-2000:]


def survivors(mutants: list[Mutant], tests: dict[Path, tuple[str, ...]]) -> list[Mutant]:
    """The mutants that no test finds. Each copy of the tree holds one at a time."""
    free: SimpleQueue[Path] = SimpleQueue()

    def is_found(mutant: Mutant) -> bool:
        folder, began = free.get(), time.monotonic()
        (folder / mutant.file).write_bytes(mutant.source())
        by = failed_test(folder, tests[mutant.file])
        shutil.copy(ROOT / mutant.file, folder / mutant.file)
        free.put(folder)
        end = f"found by {by}" if by else "SURVIVED"
        print(f"{mutant}\n  {end} after {time.monotonic() - began:.0f} s", flush=True)
        return bool(by)

    memory = IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as name, ThreadPoolExecutor(PROCESSES) as pool:
        for number in range(PROCESSES):
            folder = Path(shutil.copytree(ROOT, Path(name) / str(number), ignore=NOT_COPIED))
            free.put(folder)
        every = {test for one in mutants for test in tests[one.file]}
        if failed := failed_test(folder, (*sorted(every),)):
            sys.exit(f"a test fails without any change: {failed}")
        found = pool.map(is_found, mutants)
        return [one for one, hit in zip(mutants, found, strict=True) if not hit]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="modules: delivery, storage, ...; else all")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 100_000)
    parser.add_argument("--number", type=int, default=60, help="of mutants (default: 60)")
    given = parser.parse_args()
    tests = {}
    for globs, those in TABLE.items():
        for file in (one.relative_to(ROOT) for glob in globs for one in ROOT.glob(glob)):
            if not given.names or {file.stem, *file.parts} & set(given.names):
                tests[file] = tests_of(file, those)
    every = sorted({one for file in tests for one in mutants_of(file)}, key=repr)
    random.Random(given.seed).shuffle(every)
    useful = (one for one in every if (one.file.as_posix(), *one.lines()) not in EQUIVALENT)
    mutants = list(islice(useful, given.number))
    if not mutants:
        parser.error("no module of the table has one of these names")
    print(f"seed {given.seed}: {len(mutants)} of {len(every)} mutants", flush=True)
    left = survivors(mutants, tests)
    share = 1 - len(left) / len(mutants)
    print("\nnot found by any test:", *left, sep="\n")
    print(f"seed {given.seed}: {share:.1%} of {len(mutants)} mutants were found")
    sys.exit(share < ENOUGH)


if __name__ == "__main__":
    main()
