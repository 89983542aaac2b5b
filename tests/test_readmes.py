"""The two READMEs keep in step, and what the documentation names is there."""

import re
import subprocess
import tomllib
from itertools import chain
from pathlib import Path

import click
import pytest
from stage import ROOT

from commands import commands
from settings import known_keys, load_settings

READMES = {
    language: ROOT / name for language, name in (("en", "README.md"), ("ru", "README.ru.md"))
}
DOCS = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("deploy/*.md")),
]
TEXTS = {language: path.read_text("utf-8") for language, path in READMES.items()}

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"(^|\s+)(#(?!\w+\b[.{])|//|<!--).*$")
# What an administrator makes or has, and what only looks like a file of ours.
NOT_OURS = {
    ".env",
    "config.local.toml",
    "chats.db",
    "chats/chats.db",
    "chats/files",
    "before-schema-N.db",
    "chats/before-schema-N.db",
    "line_id.txt",
    "settings.json",
    "footer.php",
    "function.php",
    "functions.php",
    "img.png",
    "index.php",
}
# The folders with files that a page may name by their names alone.
TREES = (
    *("web", "portal", "delivery", "rest", "store", "operations", "cli", "settings", "deploy"),
    *("static", "templates", "sandbox", "tests"),
)
ENDINGS = r"(?:py|toml|md|js|css|html|png|conf|service|yml|yaml|sh|txt|php|json|db|ini)"


def ids(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def headings(text: str) -> list[tuple[str, str]]:
    """The level and the title of each heading, code left out."""
    return re.findall(r"^(#+) (.+)$", FENCE.sub("", text), re.MULTILINE)


def sections(text: str) -> list[str]:
    return re.split(r"^## ", text, flags=re.MULTILINE)


def code_blocks(text: str) -> list[list[str]]:
    """The fenced blocks, without what each language says in its comments."""
    text = text.replace("company.bitrix24.ru", "company.bitrix24.com").replace(" --lang ru", "")
    return [
        [line for line in map(without_comment, block.splitlines()) if line]
        for _, _, block in FENCE.findall(text)
    ]


def without_comment(line: str) -> str:
    return COMMENT.sub("", line).strip()


def inline_code(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


def commands_in(text: str) -> list[str]:
    """What a reader is told to type, in blocks and in sentences."""
    text = text.replace("sudo -u sitechat ", "")  # there it is a user
    codes = chain(inline_code(text), *code_blocks(text))
    found = (re.findall(r"(?:sitechat|make|systemctl)(?: [a-z][a-z-]+)+", code) for code in codes)
    return [command for several in found for command in several]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to headings."""
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for _, title in headings(text))
    return {title.replace(" ", "-") for title in plain}


def test_both_readmes_have_the_same_sections() -> None:
    assert [level for level, _ in headings(TEXTS["en"])] == [
        level for level, _ in headings(TEXTS["ru"])
    ], (headings(TEXTS["en"]), headings(TEXTS["ru"]))


def test_both_readmes_say_the_same_commands_in_the_same_order() -> None:
    english, russian = (code_blocks(TEXTS[language]) for language in ("en", "ru"))

    for one, other in zip(english, russian, strict=True):
        assert one == other


def test_each_section_of_both_readmes_names_the_same_commands_and_settings() -> None:
    for one, other in zip(sections(TEXTS["en"]), sections(TEXTS["ru"]), strict=True):
        title = one.partition("\n")[0]
        assert sorted(commands_in(one)) == sorted(commands_in(other)), title
        assert settings_in(one) == settings_in(other), title


def settings_in(text: str) -> set[str]:
    return {code for code in inline_code(text) if code in known_keys()}


def test_every_setting_is_in_both_tables() -> None:
    for text in TEXTS.values():
        rows = [row.split("|")[1] for row in text.splitlines() if row.startswith("| `")]
        named = re.findall(r"`([^`]+)`", " ".join(rows))

        assert set(known_keys()) <= set(named)


@pytest.mark.parametrize("path", DOCS, ids=ids(DOCS))
def test_every_link_leads_somewhere(path: Path) -> None:
    text = path.read_text("utf-8")
    prose = re.sub("`[^`\n]+`", "", FENCE.sub("", text))
    targets = re.findall(r'\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"', prose)

    for target in map("".join, targets):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = path.parent / name if name else path
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text("utf-8")), target


@pytest.mark.parametrize("path", DOCS, ids=ids(DOCS))
def test_every_file_that_is_named_exists(path: Path) -> None:
    for code in inline_code(path.read_text("utf-8")):
        for name in re.findall(rf"(?<![\w/.…])(?:[\w.-]+/)*[\w.-]+\.{ENDINGS}\b(?![\w(])", code):
            assert name in NOT_OURS or is_there(name, path), name


def is_there(name: str, page: Path) -> bool:
    """A file may be named from the root, from the page, or by its name alone."""
    if (ROOT / name).exists() or (page.parent / name).exists():
        return True
    folders = (ROOT / folder for folder in TREES)
    return any(next(folder.rglob(name), None) for folder in folders)


@pytest.mark.parametrize("path", DOCS, ids=ids(DOCS))
def test_every_command_of_sitechat_that_is_named_exists(path: Path) -> None:
    context = click.Context(commands)
    known = set(commands.list_commands(context))
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))

    for command in commands_in(path.read_text("utf-8")):
        program, name, *_ = command.split(" ")
        assert program != "sitechat" or name in known, command
        assert program != "make" or name in targets, command


def test_what_the_readmes_quote_is_what_the_product_says() -> None:
    """Who looks for their trouble looks for the words they read."""
    for language, text in TEXTS.items():
        told = said_in(language)
        quotes = re.findall(r'\*\*(?:"([^"]+)"|«([^»]+)»)\*\*', text)
        assert len(quotes) >= 10

        for quote in map("".join, quotes):
            parts = [part.strip(" .") for part in quote.split("…") if part.strip(" .")]
            assert any(all(part in one for part in parts) for one in told), quote


def said_in(language: str) -> list[str]:
    tables = tomllib.loads((ROOT / f"locales/{language}.toml").read_text("utf-8"))
    return [
        *(text for table in tables.values() for text in table.values()),
        (ROOT / "static/panel.js").read_text("utf-8"),
    ]


def test_the_newest_version_of_the_changelog_is_ours() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## (\d+\.\d+\.\d+) – \d{4}-\d\d-\d\d$", changelog, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

    assert versions[0] == project["project"]["version"]


def test_the_commands_of_the_update_take_what_differs_out_of_config_toml(tmp_path: Path) -> None:
    """Those for an administrator who has edited that file: no conflict at `git pull`, no copy of
    all defaults, nothing lost.
    """
    block = next(
        block for block in code_blocks(TEXTS["en"]) if any("git diff" in line for line in block)
    )
    config, local = tmp_path / "config.toml", tmp_path / "config.local.toml"
    default = (ROOT / "config.toml").read_text("utf-8")
    config.write_text(default, "utf-8")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@a.example"]
    for command in (["init", "-q"], ["add", "config.toml"], ["commit", "-qm", "a"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    own = default.replace('title = ""', 'title = "Лампы"').replace(
        'portal = ""', 'portal = "https://company.bitrix24.ru"'
    )
    own = own.replace("http://127.0.0.1:8080", "https://a.example").replace(
        "proxies = 0", "proxies = 1"
    )
    config.write_text(own, "utf-8")
    expected = load_settings(config)
    config.chmod(0o640)

    script = "\n".join(block).replace("sudo ", "").replace("/opt/sitechat", str(tmp_path))
    subprocess.run(["sh", "-e"], input=script, encoding="utf-8", check=True, capture_output=True)

    assert config.read_text("utf-8") == default
    assert load_settings(config).model_dump() == expected.model_dump()
    assert len(re.findall("^[^[#]*=", local.read_text("utf-8"), re.MULTILINE)) == 4
    assert local.stat().st_mode & 0o777 == 0o640, "it may hold the secret"
