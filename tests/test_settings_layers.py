"""Where settings may stand: the environment, .env, config.local.toml, config.toml; which counts."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from stage import Stage, wait_until

from settings import ROOT, SettingsError, load_settings, system_variables
from texts import language_of_system

SECRET = "s3cr3t-of-the-application"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("SITECHAT_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_bytes((ROOT / "config.toml").read_bytes())
    return path


def refusals(file: Path, language: str = "en") -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(file, language)
    return str(caught.value).splitlines()


def test_each_place_wins_over_those_below_it_and_is_named(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`message_limit` is given everywhere, each other key in one place fewer."""
    file.write_text(
        "[chat]\nmessage_limit = 1\nsession_days = 1\nkeep_days = 1\ntitle = 'toml'\n"
        "language = 'auto'\n"
    )
    (file.parent / "config.local.toml").write_text(
        "[chat]\nmessage_limit = 2\nsession_days = 2\nkeep_days = 2\n"
    )
    (file.parent / ".env").write_text(
        'SITECHAT_CHAT__MESSAGE_LIMIT=3\nexport SITECHAT_CHAT__SESSION_DAYS="3" # days\nOTHER=1\n'
    )
    monkeypatch.setenv("SITECHAT_CHAT__MESSAGE_LIMIT", "4")

    settings = load_settings(file)

    chat, sources = settings.chat, settings.sources
    assert (chat.message_limit, chat.session_days, chat.keep_days, chat.title) == (4, 3, 2, "toml")
    assert sources["chat.message_limit"] == "environment"
    assert sources["chat.session_days"] == ".env"
    assert sources["chat.keep_days"] == "config.local.toml"
    assert sources["chat.title"] == "config.toml"
    assert sources["chat.language"] == sources["chat.consent"] == "default"


@pytest.mark.parametrize("said", ['""', '"Chat with us"', '"  "'])
def test_the_title_of_an_older_file_is_that_of_the_visitors_language(file: Path, said: str) -> None:
    file.write_text(f"[chat]\ntitle = {said}\n")
    settings = load_settings(file)

    assert settings.chat.title == ""
    assert settings.sources["chat.title"] == "default"  # so the page may set it


def test_a_local_file_that_says_the_default_counts(file: Path) -> None:
    """The page cannot change what the administrator has written down."""
    (file.parent / "config.local.toml").write_text('[chat]\ntitle = "Chat with us"\n')

    assert load_settings(file).sources["chat.title"] == "config.local.toml"


def test_the_file_that_the_environment_names_has_its_own_local_file_and_env_file(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "chat.toml").write_text("[chat]\ntitle = 'named'")
    (folder / "chat.local.toml").write_text("[chat]\naccent = '#112233'")
    (folder / ".env").write_text("SITECHAT_CHAT__LANGUAGE=ru\nWEB_CONCURRENCY=3\nLOG_LEVEL=ERROR")
    monkeypatch.setenv("SITECHAT_CONFIG", str(folder / "chat.toml"))
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)

    settings = load_settings()

    assert (settings.chat.title, settings.chat.accent, settings.chat.language) == (
        *("named", "#112233", "ru"),
    )
    assert settings.sources["chat.accent"] == "chat.local.toml"
    variables = system_variables()
    assert (variables["WEB_CONCURRENCY"], variables["LOG_LEVEL"]) == ("3", "DEBUG")


def test_a_secret_in_an_env_file_is_taken_letter_by_letter(file: Path) -> None:
    (file.parent / ".env").write_text(
        "SITECHAT_BITRIX24__CLIENT_SECRET=a$b${HOME}#c\nsitechat_chat__title='Чат #1'\n", "utf-8"
    )

    settings = load_settings(file)

    assert settings.bitrix24.client_secret.get_secret_value() == "a$b${HOME}#c"
    assert settings.chat.title == "Чат #1"


@pytest.mark.parametrize(
    ("env", "english", "russian"),
    [
        ("A=1\n\n[chat]\n", "line 3: is not understood", "строка 3: строка непонятна"),
        ("SITECHAT_CHAT__TITLE\n", "line 1: has no value", "строка 1: нет значения"),
        ('SITECHAT_CHAT__TITLE="a\n', "line 1: is not understood", "строка 1: строка непонятна"),
        (
            "SITECHAT_CHAT__TITLE=a\nB=1\n\nSITECHAT_CHAT__TITLE=b\n",
            "line 4: SITECHAT_CHAT__TITLE stands twice; the first is in line 1",
            "строка 4: SITECHAT_CHAT__TITLE встречается дважды; первый раз — в строке 1",
        ),
        (
            "SITECHAT_CHAT_TITLE=a",
            "SITECHAT_CHAT_TITLE is unknown; did you mean SITECHAT_CHAT__TITLE? (.env)",
            "неизвестный параметр; возможно, имелся в виду SITECHAT_CHAT__TITLE",
        ),
        ("CHAT__TITLE=a", "did you mean SITECHAT_CHAT__TITLE?", "SITECHAT_CHAT__TITLE"),
        ("public_url=https://a.example", "did you mean SITECHAT_PUBLIC_URL?", "PUBLIC_URL"),
        ("SITECHAT_CONFIG=/etc/chat.toml", "set it in the environment", "задайте её в окружении"),
        (
            "SITECHAT_PUBLIC_URL=“https://a.example”",
            "remove them; write https://a.example (.env, SITECHAT_PUBLIC_URL)",
            "напишите https://a.example (.env, SITECHAT_PUBLIC_URL)",
        ),
        (
            "SITECHAT_CHAT__SITES=https://a.example, b.example",
            'write ["https://a.example", "https://b.example"] (.env, SITECHAT_CHAT__SITES)',
            'напишите ["https://a.example", "https://b.example"]',
        ),
    ],
)
def test_a_mistake_in_an_env_file_is_told_with_its_place(
    file: Path, env: str, english: str, russian: str
) -> None:
    (file.parent / ".env").write_text(env, "utf-8")

    assert english in refusals(file)[0]
    assert russian in refusals(file, "ru")[0]


@pytest.mark.parametrize(
    "line",
    [
        f"SITECHAT_BITRIX24__CLIENT_SECRET {SECRET}",
        f'SITECHAT_BITRIX24__CLIENT_SECRET="{SECRET}',
        f"SITECHAT_BITRIX24__CLIENT_SECRET: {SECRET}",
        f"client_secret={SECRET}",
        f"BITRIX24__CLIENT_SECRET={SECRET}",
        f"SITECHAT_BITRIX24__CLIENT_SECRET={SECRET}\nSITECHAT_BITRIX24__CLIENT_SECRET={SECRET}",
        f"SITECHAT_BITRIX24__CLIENT_SECRET=“{SECRET}”",
        f"SITECHAT_BITRIX24__PORTAL={SECRET}",
        f"SITECHAT_CHAT__SITES={SECRET}",
        f"[bitrix24]\n{SECRET}",
    ],
)
def test_what_is_said_of_an_env_file_holds_no_secret(file: Path, line: str) -> None:
    (file.parent / ".env").write_text(f"{line}\nSITECHAT_NOTHING=1\n", "utf-8")

    assert SECRET not in "\n".join(refusals(file))


def test_the_faults_of_all_files_are_told_at_once(file: Path) -> None:
    file.write_text("[chat]\ntitel = 1")
    (file.parent / "config.local.toml").write_text("[chat")
    (file.parent / ".env").write_text("oh no")

    said = refusals(file)

    assert [line.partition(":")[0] for line in said[:2]] == [
        *(str(file.parent / "config.local.toml"), str(file.parent / ".env")),
    ]
    assert said[2].startswith("chat.titel is unknown")


def test_a_value_is_blamed_on_the_place_that_counts(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file.parent / "config.local.toml").write_text("\n[chat]\ntitle = 'a'\nlanguage = 'de'\n")
    monkeypatch.setenv("SITECHAT_CHAT__MESSAGE_LIMIT", "many")

    language, limit = refusals(file)

    assert language.endswith("(config.local.toml, line 4)")
    assert limit.endswith("(environment variable SITECHAT_CHAT__MESSAGE_LIMIT)")
    assert refusals(file, "ru")[0].endswith("(config.local.toml, строка 4)")


# -- what an editor makes of a file

TITLED = '[chat]\ntitle = "Чат магазина «Лампы»"\n'


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
@pytest.mark.parametrize("name", ["config.toml", "config.local.toml", ".env"])
def test_a_file_with_a_byte_order_mark_is_simply_read(file: Path, encoding: str, name: str) -> None:
    text = 'SITECHAT_CHAT__TITLE="Чат магазина «Лампы»"\n' if name == ".env" else TITLED
    (file.parent / name).write_bytes(text.replace("\n", "\r\n").encode(encoding))

    assert load_settings(file).chat.title == "Чат магазина «Лампы»"


@pytest.mark.parametrize("name", ["config.toml", "config.local.toml", ".env"])
@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("cp1251", "Windows-1251"),
        ("koi8-r", "KOI8-R"),
        ("cp866", "CP866"),
        ("latin-1", ""),
        ("utf-16-le", "plain text"),
    ],
)
def test_a_file_in_another_encoding_is_told_with_the_line_and_the_cure(
    file: Path, name: str, encoding: str, named: str
) -> None:
    text = "Größe" if encoding == "latin-1" else "чат магазина"
    line = "SITECHAT_CHAT__TITLE=" if name == ".env" else "[chat]\ntitle = "
    (file.parent / name).write_bytes(f'{line}"{text}"\n'.encode(encoding))

    (english,), (russian,) = refusals(file), refusals(file, "ru")

    assert english.startswith(f"{file.parent / name}: ")
    assert named in english
    assert "UTF-8" in english
    assert "UTF-8" in russian
    number = 1 if name == ".env" else 2
    assert encoding == "utf-16-le" or f"(line {number})" in english
    assert encoding == "utf-16-le" or f"(строка {number})" in russian


def test_what_the_system_does_not_give_says_why(file: Path, tmp_path: Path) -> None:
    (file.parent / ".env").mkdir()
    (file.parent / "config.local.toml").symlink_to(tmp_path / "nowhere")

    assert [line.partition(": ")[2] for line in refusals(file, "ru")] == [
        "такого файла настроек нет",
        "файл не удаётся прочитать: это папка",
    ]
    (file.parent / ".env").rmdir()
    (file.parent / "config.local.toml").unlink()
    file.write_bytes(b"\x7fELF\x00\x01")
    assert "no plain text file" in refusals(file)[0]


@pytest.mark.parametrize("name", ["config.local.toml", ".env"])
def test_a_file_to_whose_name_the_editor_has_added_an_ending_is_told(file: Path, name: str) -> None:
    wrong = file.parent / f"{name}.txt"
    wrong.write_text("")

    assert refusals(file) == [f"{wrong}: is not read under this name; rename it to {name}"]
    assert refusals(file, "ru")[0].endswith(f"переименуйте его в {name}")
    (file.parent / name).write_text("")
    assert load_settings(file).chat.title == ""


# -- the language


@pytest.mark.parametrize(
    ("variables", "language"),
    [
        ({}, "en"),
        ({"LANG": "ru_RU.UTF-8"}, "ru"),
        ({"LANG": "ru"}, "ru"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "ru_RU.UTF-8"}, "ru"),
        ({"LANG": "ru_RU.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "ru_RU.UTF-8", "LC_ALL": ""}, "ru"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
    ],
)
def test_the_language_is_that_of_the_system(variables: dict[str, str], language: str) -> None:
    assert language_of_system(variables) == language


@pytest.mark.parametrize(("language", "said"), [("ru_RU.UTF-8", "маленькими"), ("C", "small")])
@pytest.mark.parametrize("command", ["gunicorn", "sitechat"])
def test_a_start_with_wrong_settings_ends_with_a_line_in_the_language_of_the_system(
    file: Path, language: str, said: str, command: str
) -> None:
    (file.parent / "config.local.toml").write_text("[files]\nenabled = True\n")
    variables = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    variables |= {"SITECHAT_CONFIG": str(file), "LANG": language}
    arguments = {
        "gunicorn": ["-m", "gunicorn", "--check-config"],
        "sitechat": ["-c", "from commands import main; main()", "status"],
    }

    ended = subprocess.run(
        [sys.executable, *arguments[command]],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    assert said in ended.stderr
    assert ended.stderr.startswith("sitechat: ")
    assert len(ended.stderr.splitlines()) == 1


def test_a_reload_with_wrong_settings_leaves_the_chat_as_it_is(tmp_path: Path) -> None:
    file, local = tmp_path / "config.toml", tmp_path / "config.local.toml"
    shutil.copy(ROOT / "config.toml", file)

    with Stage(tmp_path, SITECHAT_CONFIG=str(file)) as stage:
        assert stage.app is not None
        page = stage.visitor().http

        def shows(title: str) -> bool:
            return f"<bdi>{title}</bdi>" in page.get(stage.chat, timeout=30).text

        local.write_text("[chat]\ntitle = Лампы\n", "utf-8")
        os.kill(stage.app.pid, signal.SIGHUP)
        wait_until(lambda: "the former settings stay" in stage.log.read_text(), 10, "the log")
        assert "config.local.toml: line 2: text stands in straight quotes" in stage.log.read_text()
        assert shows("Chat with us")

        local.write_text('[chat]\ntitle = "Лампы"\n', "utf-8")
        os.kill(stage.app.pid, signal.SIGHUP)
        wait_until(lambda: shows("Лампы"), 20, "the new title")
