"""Where settings may stand: the environment, .env, config.local.toml, config.toml; which counts."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from stage import Stage, wait_until
from starter import sitechat

from settings import (
    ROOT,
    Process,
    SettingsError,
    load_process,
    load_settings,
    system_variables,
)
from texts import language_of_system

pytestmark = pytest.mark.usefixtures("bare_environment")
SECRET = "s3cr3t-of-the-application"


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


@pytest.mark.parametrize("said", ['""', '"Chat with us"'])
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


NAMES = [
    ("SITCHAT_PUBLIC_URL", "SITECHAT_PUBLIC_URL"),
    ("SITECAHT_CHAT__TITLE", "SITECHAT_CHAT__TITLE"),
    ("SITECHATCHAT__TITLE", "SITECHAT_CHAT__TITLE"),
    ("SITE_CHAT_CHAT_TITLE", "SITECHAT_CHAT__TITLE"),
    ("SITECHAT__CHAT__TITLE", "SITECHAT_CHAT__TITLE"),
    ("SITECHAT-CHAT-TITLE", "SITECHAT_CHAT__TITLE"),
    ("SITE\u0421HAT_CHAT__TITLE", "SITECHAT_CHAT__TITLE"),  # a Cyrillic letter
    ("SITECHAT_\u0421HAT__TITLE", "SITECHAT_CHAT__TITLE"),
    ("SIT\u0395CHAT_CHAT__TITLE", "SITECHAT_CHAT__TITLE"),  # a Greek one
    ("SITE\u200bCHAT_CHAT__TITLE", "SITECHAT_CHAT__TITLE"),
    ("PUBLIC_URL", "SITECHAT_PUBLIC_URL"),
    ("PUBLICURL", "SITECHAT_PUBLIC_URL"),
    ("BITRIX24_PORTAL", "SITECHAT_BITRIX24__PORTAL"),
    ("BITRIX24_CLIENT_SECERT", "SITECHAT_BITRIX24__CLIENT_SECRET"),
    ("CLIENT_ID", "SITECHAT_BITRIX24__CLIENT_ID"),
    ("CLIENT_SECERT", "SITECHAT_BITRIX24__CLIENT_SECRET"),
    ("chat.title", "SITECHAT_CHAT__TITLE"),
    ("PORTAL", "SITECHAT_BITRIX24__PORTAL"),
    ("LOGLEVEL", "LOG_LEVEL"),
    ("log_level", "LOG_LEVEL"),
    ("WEB_CONCURENCY", "WEB_CONCURRENCY"),
    ("SITECHAT_WEB_CONCURRENCY", "WEB_CONCURRENCY"),
    ("SITECHAT_LOGS__LEVEL", "LOG_LEVEL"),
]


@pytest.mark.parametrize(("name", "meant"), NAMES)
def test_a_name_in_an_env_file_that_is_nearly_ours_is_told_with_the_one_that_was_meant(
    file: Path, name: str, meant: str
) -> None:
    (file.parent / ".env").write_text(f"{name}=x\n", "utf-8")

    at = next((at for at, letter in enumerate(name, 1) if not letter.isascii()), None)
    cure = f" Its character {at} is not Latin, though it may look so, or not be seen at all: type"
    more = f"{cure} the name anew" if at else ""
    assert refusals(file) == [f"{name} is unknown; did you mean {meant}?{more} (.env)"]


def test_names_of_other_programs_are_left_alone(file: Path) -> None:
    """Also in a file of ours: deploy/compose.yaml reads it as well."""
    others = (
        "COMPOSE_PROJECT_NAME COMPOSE_FILE CHAT_HOST CHAT_UPSTREAM CHAT_NAME TZ LANG LANGUAGE PATH "
        "HOME DOMAIN HOST PORT URL NAME ID TOKEN FILES DEBUG SITE_NAME SITE_URL SITEMAP_URL "
        "LIVECHAT_ID WEBCHAT_TITLE CLIENT_IP PUBLIC_IP PUBLIC_HOST SERVER_NAME HTTP_PROXY NO_PROXY "
        "SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE GUNICORN_CMD_ARGS PYTHONPATH SENTRY_DSN "
        "POSTGRES_PASSWORD DATABASE_URL REDIS_URL SECRET_KEY SMTP_HOST LC_ALL VIRTUAL_HOST "
        "LETSENCRYPT_EMAIL LOG_DIR BITRIX_WEBHOOK"
    )
    text = "".join(f"{name}=x\n" for name in others.split())
    (file.parent / ".env").write_text(f"{text}LOG_LEVEL=debug\nWEB_CONCURRENCY=2\n")

    assert load_settings(file).chat.title == ""


def test_in_the_environment_only_what_is_surely_ours_is_told(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PUBLIC_URL", "CLIENT_ID", "LOGLEVEL"):
        monkeypatch.setenv(name, "x")
    assert load_settings(file)

    monkeypatch.setenv("SITE\u0421HAT_PUBLIC_URL", "https://a.example")
    assert "did you mean SITECHAT_PUBLIC_URL?" in refusals(file)[0]


@pytest.mark.parametrize(
    ("env", "english", "russian"),
    [
        (
            "Environment=SITECHAT_CHAT__TITLE=a",
            "does not belong before SITECHAT_CHAT__TITLE; begin the line with",
            "начните строку с SITECHAT_CHAT__TITLE=",
        ),
        ("SITECHAT_CHAT=hello", "SITECHAT_CHAT: is the name of a section; write", "имя раздела"),
        ("SITECHAT_FILES=chats", "such as SITECHAT_FILES__ENABLED=value (.env)", "имя раздела"),
        ('sitechat_chat={"title": "a"}', "is the name of a section", "это имя раздела"),
        ("SITECHAT_BITRIX24=", "such as SITECHAT_BITRIX24__PORTAL=value", "имя раздела"),
        ("SITECHAT_CHAT__TITLE=“Чат”", "chat.title: has typographic quotes", "типографские"),
        ("SITECHAT_CHAT__TITLE = «Чат» # our", "has typographic quotes", "типографские кавычки"),
        ("SITECHAT_CHAT__CONSENT=„Ja“\r\n", "chat.consent: has typographic", "типографские"),
        ('SITECHAT_CHAT__TITLE=“Чат"', "has typographic quotes", "типографские кавычки"),
        ("SITECHAT_STORAGE__FILES=’a’", "storage.files: has typographic", "типографские кавычки"),
        ("SITECHAT_CHAT__ACCENT = #c8102e", "behind a space # begins a comment", "комментарий"),
        ("SITECHAT_CHAT__GREETING= #1", "behind a space # begins a comment", "комментарий"),
        (
            'SITECHAT_CHAT__TITLE="a\nSITECHAT_CHAT__ACCENT=#c8102e\nSITECHAT_CHAT__GREETING="',
            "line 1: the quote at the end of the text is missing",
            "строка 1: в конце текста нет кавычки",
        ),
        ("A=1\n<<<<<<< HEAD\nB=1\n=======\nB=2\n>>>>>>> x", "line 2: git left", "git оставил"),
    ],
)
def test_what_an_env_file_would_take_otherwise_than_it_was_meant_is_told(
    file: Path, env: str, english: str, russian: str
) -> None:
    (file.parent / ".env").write_text(env, "utf-8")

    (said,), (in_russian,) = refusals(file), refusals(file, "ru")
    assert english in said
    assert russian in in_russian


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ('"«Чат»"', "«Чат»"),
        ("«Лампы» на связи", "«Лампы» на связи"),
        ("«Лампы» и «Свет»", "«Лампы» и «Свет»"),
        ("#1 # the best", "#1"),
    ],
)
def test_quotes_that_belong_to_a_text_are_taken(file: Path, line: str, title: str) -> None:
    env = f"SITECHAT_CHAT__TITLE={line}\nSITECHAT_CHAT__GREETING= # none\n"
    (file.parent / ".env").write_text(env, "utf-8")

    assert load_settings(file).chat.title == title


@pytest.mark.parametrize("section", ["CHAT", "bitrix24"])
@pytest.mark.parametrize("value", ["hello", "[1]", '{"title": "x"}', "", SECRET])
def test_a_section_as_a_variable_of_the_environment_is_told(
    file: Path, monkeypatch: pytest.MonkeyPatch, section: str, value: str
) -> None:
    monkeypatch.setenv(f"SITECHAT_{section}", value)

    (said,) = refusals(file)
    assert said.startswith(f"SITECHAT_{section}: is the name of a section")
    assert SECRET not in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"SITECHAT_BITRIX24__CLIENT_SECRET {SECRET}", "SITECHAT_BITRIX24__CLIENT_SECRET …"),
        (f"SITECHAT_BITRIX24__CLIENT_SECRET: {SECRET}", "SITECHAT_BITRIX24__CLIENT_SECRET …"),
        ("SITECHAT_CHAT__TITLE", "SITECHAT_CHAT__TITLE"),
        ("export SITECHAT_CHAT__TITLE Чат", "export SITECHAT_CHAT__TITLE Чат"),
        (f"SITECHAT_CHAT__TITLE {SECRET}", "SITECHAT_CHAT__TITLE …"),
        (SECRET, "s3cr3t-of-…"),
    ],
)
def test_a_line_that_is_shown_shows_the_name_and_no_value_that_may_be_a_secret(
    file: Path, line: str, said: str
) -> None:
    (file.parent / ".env").write_text(line, "utf-8")

    assert refusals(file)[0].endswith(f"; the line is: {said}")


# -- how the processes run


@pytest.mark.parametrize(
    ("env", "level", "workers"),
    [
        ("", "INFO", 1),
        ("LOG_LEVEL=\nWEB_CONCURRENCY=\n", "INFO", 1),
        ("LOG_LEVEL=debug\nWEB_CONCURRENCY= 3 \n", "DEBUG", 3),
    ],
)
def test_an_empty_variable_of_the_processes_means_the_default(
    file: Path, monkeypatch: pytest.MonkeyPatch, env: str, level: str, workers: int
) -> None:
    for name in ("LOG_LEVEL", "WEB_CONCURRENCY"):
        monkeypatch.delenv(name, raising=False)
    (file.parent / ".env").write_text(env)

    assert load_process(file) == Process(level, workers)


@pytest.mark.parametrize(
    ("name", "value", "said", "russian"),
    [
        ("LOG_LEVEL", "verbose", "must be one of DEBUG, INFO", "нужно одно из"),
        ("WEB_CONCURRENCY", "two", "must be a whole number", "нужно целое число"),
        ("WEB_CONCURRENCY", "1.5", "must be a whole number", "нужно целое число"),
        ("WEB_CONCURRENCY", "0", "must be 1 or more", "нужно 1 или больше"),
        ("WEB_CONCURRENCY", "-1", "must be 1 or more", "нужно 1 или больше"),
        ("WEB_CONCURRENCY", "1000", "must be 64 or less", "нужно 64 или меньше"),
    ],
)
def test_a_wrong_variable_of_the_processes_is_told_with_its_place(
    file: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str, russian: str
) -> None:
    monkeypatch.delenv(name, raising=False)
    (file.parent / ".env").write_text(f"{name}={value}")
    for language, words in (("en", said), ("ru", russian)):
        with pytest.raises(SettingsError, match=f"^{name}: {words}.* \\(.env\\)$"):
            load_process(file, language)

    (file.parent / ".env").unlink()
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=rf"\(environment variable {name}\)$"):
        load_process(file)


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


@pytest.mark.parametrize(("command", "code"), [("doctor", 2), ("serve", 1)])
def test_commands_tell_a_wrong_variable_of_the_processes(
    file: Path, command: str, code: int
) -> None:
    (file.parent / ".env").write_text("LOG_LEVEL=verbose\n")
    variables = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    variables |= {"SITECHAT_CONFIG": str(file), "LANG": "C", "WEB_CONCURRENCY": ""}

    ended = sitechat(command, environment=variables)

    assert ended.returncode == code, ended.stderr
    assert "LOG_LEVEL: must be one of DEBUG, INFO" in ended.stdout + ended.stderr


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
