"""The house: imports point one way, rooms are small enough to be seen at once."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage import ROOT

# Who may import whom: only what stands further up. Rooms of one line may import each other.
FLOORS = [
    {"values"},
    {"settings", "texts", "bbcode"},
    {"rest", "store"},
    {"bitrix", "storage", "files"},
    {"live", "portal"},
    {"delivery"},
    {"services"},
    {"web"},
    {"app"},
    {"commands"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
CLASS_LINES, FILE_LINES, FUNCTION_LINES = 250, 400, 50
PARTS = (ast.ClassDef, ast.FunctionDef)
# What is larger, and why.
LARGER: dict[str, str] = {
    "sandbox/control.py": "one button of the portal after the other, none knows another",
    "sandbox/methods.py Methods": "one method of the portal after the other, none knows another",
    "sandbox/talks.py Talks": "to be taken apart with the sandbox's import circle",
}


def rooms() -> Iterator[tuple[str, Path]]:
    """Each of the product's modules, with its room: the module, or the package it belongs to."""
    for path in sorted(ROOT.glob("*.py")):
        if path.name != "gunicorn.conf.py":
            yield path.stem, path
    for package in sorted(ROOT.glob("*/__init__.py")):
        if package.parent.name not in ("tests", "sandbox"):
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


def test_the_product_and_the_sandbox_know_nothing_of_each_other() -> None:
    for _, path in rooms():
        assert "sandbox" not in imported(path), path
    for path in (ROOT / "sandbox").glob("*.py"):
        assert not {*imported(path)} & FLOOR.keys(), path


@pytest.mark.parametrize(("room", "path"), [*rooms()], ids=lambda value: str(value)[-30:])
def test_a_module_says_its_job_first(room: str, path: Path) -> None:
    told = ast.get_docstring(ast.parse(path.read_text("utf-8")))

    assert told, f"{path} opens without a sentence"


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
    paths = [path for _, path in rooms()] + sorted((ROOT / "sandbox").glob("*.py"))
    large = {name: lines for path in paths for name, lines, most in sizes(path) if lines > most}

    assert set(large) == set(LARGER), large
