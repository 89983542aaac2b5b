"""The documentation says what the code does."""

import re

from flask import Flask
from stage import ROOT

from app import create_app
from settings import Settings, StorageSettings, known_keys

README = (ROOT / "README.md").read_text("utf-8")
REFERENCE = (ROOT / "docs/reference.md").read_text("utf-8")


def test_every_setting_is_in_the_readme_and_no_other() -> None:
    table = README.partition("## Settings")[2].partition("## ")[0]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]

    assert sorted(re.findall(r"`([^`]+)`", " ".join(cells))) == sorted(known_keys())


def test_every_route_is_in_the_readme(tmp_path: object) -> None:
    app: Flask = create_app(Settings(storage=StorageSettings(url=f"sqlite:///{tmp_path}/chats.db")))
    tables = [text.partition("## Routes")[2].partition("## ")[0] for text in (README, REFERENCE)]

    for rule in app.url_map.iter_rules():
        if rule.endpoint != "static":
            for table in tables:
                assert re.search(rf"[ `]{re.escape(rule.rule)}`", table), rule.rule


def test_every_command_of_the_readme_is_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")

    for target in {*re.findall(r"make (\w+)", README), "install", "check", "serve"}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_file_is_in_the_reference() -> None:
    table = REFERENCE.partition("## Where things are")[2]

    for path in ROOT.glob("*.py"):
        if path.name != "gunicorn.conf.py":
            assert f"`{path.name}`" in table, path.name
    for path in [*ROOT.glob("static/*.js"), *ROOT.glob("static/*.css")]:
        assert f"`{path.name}`" in table, path.name
