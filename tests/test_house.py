"""The house: imports point one way, rooms are small enough to be seen at once."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from harmless import EQUIVALENT
from mutants import TABLE, mutants_of
from stage import ROOT

# Who may import whom: only what stands further up. Rooms of one line may import each other.
FLOORS = [
    {"values", "phones", "turns", "visible", "texts"},
    {"addresses"},
    {"sanitizer"},
    {"links"},
    {"nesting"},
    {"codes"},
    {"settings", "bbcode", "logs", "tally"},
    {"rest", "store"},
    {"bitrix", "storage", "files", "rates", "under_way", "way"},
    {"live", "portal"},
    {"delivery", "operations"},
    {"services"},
    {"web"},
    {"app"},
    {"cli"},
    {"commands"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
CLASS_LINES, FILE_LINES, FUNCTION_LINES = 250, 400, 50
OUTSIDE = ("tests", "sandbox", "bench")  # of the product
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
PARTS = (ast.ClassDef, ast.FunctionDef)


def rooms() -> Iterator[tuple[str, Path]]:
    """Each of the product's modules, with its room: the module, or the package it belongs to."""
    for path in sorted(ROOT.glob("*.py")):
        if path.name != "gunicorn.conf.py":
            yield path.stem, path
    for package in sorted(ROOT.glob("*/__init__.py")):
        if package.parent.name not in OUTSIDE:
            yield from ((package.parent.name, path) for path in sorted(package.parent.glob("*.py")))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)


def test_imports_point_one_way() -> None:
    found = list(rooms())
    assert {room for room, _ in found} == set(FLOOR), "a room without a floor, or without a file"

    climbing = [
        f"{path.relative_to(ROOT)} imports {other}"
        for room, path in found
        for other in imported(path)
        if other != room and FLOOR.get(other, -1) > FLOOR[room]
    ]

    assert climbing == []


def test_one_module_alone_speaks_http() -> None:
    """The limits of time and size, and the borders of errors and secrets, hold for every call."""
    speakers = {path for _, path in rooms() if {"requests", "urllib3"} & {*imported(path)}}

    assert speakers == {ROOT / "rest" / "http.py"}


def siblings(package: str, source: str) -> set[str]:
    """The modules of its own package that a module imports.

    Wherever the import stands: those for the type checker and those inside functions count.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            if name in (".", package):
                found |= {alias.name for alias in node.names}
            elif name.startswith((".", f"{package}.")):
                found.add(name.removeprefix(package).split(".")[1])
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {parts[1] for parts in names if parts[0] == package and len(parts) > 1}
    return found


@pytest.mark.parametrize(
    "source",
    [
        "from . import desk",
        "from .desk import Desk",
        "import sandbox.desk",
        "from sandbox import desk",
        "from sandbox.desk import Desk",
        "if TYPE_CHECKING:\n    from .desk import Desk",
        "def pages():\n    from .desk import Desk",
    ],
)
def test_no_import_hides_from_the_test(source: str) -> None:
    assert siblings("sandbox", f"import flask\nfrom flask.desk import Flask\n{source}") == {"desk"}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_imports_go_in_a_circle(package: str) -> None:
    modules = {path.stem: path for path in (ROOT / package).glob("*.py")}
    imports = {
        name: siblings(package, path.read_text("utf-8")) & modules.keys()
        for name, path in modules.items()
    }

    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(f"{package}: {' imports '.join(reversed(error.args[1]))}")


def test_the_product_and_the_sandbox_know_nothing_of_each_other() -> None:
    for _, path in rooms():
        assert "sandbox" not in imported(path), path
    for path in (ROOT / "sandbox").glob("*.py"):
        assert not {*imported(path)} & FLOOR.keys(), path


MODULES = [
    *(path for _, path in rooms()),
    *(path for room in ("sandbox", "bench") for path in sorted((ROOT / room).rglob("*.py"))),
]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_its_job_first(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8")))

    assert docstring, f"{path} opens without a sentence"


def sizes(path: Path) -> Iterator[tuple[str, int, int]]:
    """What is in a file, with its lines and how many it may have."""
    source = path.read_text("utf-8")
    name = str(path.relative_to(ROOT))
    yield name, source.count("\n"), FILE_LINES
    for node in ast.walk(ast.parse(source)):
        lines = node.end_lineno - node.lineno + 1 if isinstance(node, PARTS) else 0  # type: ignore[operator]
        if isinstance(node, ast.ClassDef):
            yield f"{name} {node.name}", lines, CLASS_LINES
        elif isinstance(node, ast.FunctionDef):
            yield f"{name} {node.name}", lines, FUNCTION_LINES


def test_whatever_there_is_can_be_seen_at_once() -> None:
    large = {name: lines for path in MODULES for name, lines, most in sizes(path) if lines > most}

    assert large == {}


def test_what_harmless_names_is_a_change_that_mutants_makes() -> None:
    """A line that was changed since has to be judged anew."""
    made = {
        (file.as_posix(), *mutant.lines())
        for globs in TABLE
        for pattern in globs
        for file in (path.relative_to(ROOT) for path in ROOT.glob(pattern))
        for mutant in mutants_of(file)
    }

    assert not EQUIVALENT.keys() - made
