"""Settings: one file, the environment over it, and refusals that name the key and the cure."""

import os
import re
import ssl
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import ValidationError
from stage import path_of

from app import create_app
from settings import (
    ROOT,
    Settings,
    SettingsError,
    StorageSettings,
    doubts,
    known_keys,
    load_settings,
)
from storage import Store

CONFIG = ROOT / "config.toml"
pytestmark = pytest.mark.usefixtures("bare_environment")
SECRET = "s3cr3t-of-the-application"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text("")
    return path


def load(file: Path, toml: str) -> Settings:
    file.write_text(toml, "utf-8")
    return load_settings(file)


def refusal(file: Path, toml: str = "") -> str:
    """The text with which these settings are refused."""
    with pytest.raises(SettingsError) as caught:
        load(file, toml)
    return str(caught.value)


def value_of(settings: Settings, key: str) -> Any:
    value: Any = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


def toml_of(key: str, value: str) -> str:
    section, _, name = key.rpartition(".")
    return f'[{section}]\n{name} = "{value}"\n' if section else f'{name} = "{value}"\n'


# -- config.toml


def keys_in(toml: str) -> list[str]:
    """The keys a file holds, also those that are commented out."""
    section, keys = "", []
    for line in toml.splitlines():
        if found := re.fullmatch(r"\[(\w+)\]", line):
            section = f"{found[1]}."
        elif found := re.match(r"(?:# )?(\w+) = ", line):
            keys.append(section + found[1])
    return keys


def test_every_key_is_in_config_toml_once_and_in_the_order_of_the_classes() -> None:
    assert keys_in(CONFIG.read_text("utf-8")) == known_keys()


def test_config_toml_says_the_defaults(file: Path) -> None:
    """Whoever works here may have settings of their own beside it, so it is read elsewhere."""
    settings = load(file, CONFIG.read_text("utf-8"))

    assert settings == load(file, "")
    assert set(settings.sources.values()) == {"default"}


def test_the_files_of_an_administrator_are_not_gits() -> None:
    """An update by `git pull` then meets no conflict, and no secret is committed."""
    ignored = (ROOT / ".gitignore").read_text("utf-8").splitlines()

    assert {"/config.local.toml", "/.env"} <= {*ignored}
    copies = [
        *("config.local.toml~", ".config.local.toml.swp", "#config.local.toml#"),
        *("config.local.toml.bak", ".#config.local.toml", "config.toml~", ".env~", ".env.save"),
        *("..env.swp", ".env.swp", "#.env#"),
    ]
    for name in copies:  # of editors
        assert any(fnmatch(f"/{name}", pattern) for pattern in ignored), name
    assert not any(fnmatch("/config.toml", pattern) for pattern in ignored)


def test_the_commented_keys_of_config_toml_can_be_uncommented(file: Path) -> None:
    whole = re.sub(r"(?m)^# (\w+ = )", r"\1", CONFIG.read_text("utf-8"))

    assert load(file, whole).widget_uri == ""


def test_config_toml_holds_no_secret(file: Path) -> None:
    assert load(file, CONFIG.read_text("utf-8")).bitrix24.client_secret.get_secret_value() == ""


def test_a_default_that_others_rely_on_stays(file: Path) -> None:
    settings = load(file, "")

    assert settings.bitrix24.oauth_server == "https://oauth.bitrix24.tech"
    assert settings.connector.id == "example_connector_1"
    assert settings.connector.name == "ExampleSiteChat"
    assert settings.connector.widget_name == "ExampleSiteChatWidget"
    assert settings.storage.url == "sqlite:///chats/chats.db"


# -- the environment


@pytest.mark.parametrize(
    ("variable", "given", "key", "expected"),
    [
        ("SITECHAT_PUBLIC_URL", "https://env.example", "public_url", "https://env.example"),
        ("SITECHAT_BITRIX24__PORTAL", "https://p.example", "bitrix24.portal", "https://p.example"),
        ("SITECHAT_BITRIX24__CLIENT_ID", "local.1", "bitrix24.client_id", "local.1"),
        ("SITECHAT_CONNECTOR__ID", "from_env", "connector.id", "from_env"),
        ("SITECHAT_CONNECTOR__WIDGET_URI", "", "connector.widget_uri", ""),
        ("SITECHAT_CHAT__LANGUAGE", "ru", "chat.language", "ru"),
        (
            "SITECHAT_CHAT__SITES",
            '["https://a.example", "https://b.example:8443"]',
            "chat.sites",
            ("https://a.example", "https://b.example:8443"),
        ),
        ("SITECHAT_CHAT__SITES", "[]", "chat.sites", ()),
        ("SITECHAT_CHAT__MESSAGE_LIMIT", "500", "chat.message_limit", 500),
        ("SITECHAT_DELIVERY__RETRY_SECONDS", "0.1", "delivery.retry_seconds", 0.1),
        ("SITECHAT_STORAGE__URL", "sqlite:///env.db", "storage.url", "sqlite:///env.db"),
    ],
)
def test_the_environment_wins_over_the_file(
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    given: str,
    key: str,
    expected: object,
) -> None:
    file_says = """
        public_url = "https://file.example"
        [bitrix24]
        portal = "https://file.example"
        client_id = "local.file"
        [connector]
        id = "from_file"
        widget_uri = "https://file.example"
        [chat]
        language = "en"
        sites = ["https://file.example"]
        message_limit = 7
        [delivery]
        retry_seconds = 7
        [storage]
        url = "sqlite:///file.db"
    """
    assert value_of(load(file, file_says), key) != expected

    monkeypatch.setenv(variable, given)

    assert value_of(load_settings(file), key) == expected


def test_a_key_from_the_environment_leaves_its_section_in_the_file_alone(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITECHAT_CHAT__LANGUAGE", "ru")

    settings = load(file, '[chat]\ntitle = "From the file"\nlanguage = "en"')

    assert settings.chat.title == "From the file"
    assert settings.chat.language == "ru"


def test_the_secret_can_come_from_the_environment(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITECHAT_BITRIX24__CLIENT_SECRET", SECRET)

    assert load_settings(file).bitrix24.client_secret.get_secret_value() == SECRET


def test_the_environment_can_name_another_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('[chat]\ntitle = "Another"')
    monkeypatch.setenv("SITECHAT_CONFIG", str(file))

    assert load_settings().chat.title == "Another"


@pytest.mark.parametrize("sites", ["https://shop.example", "[https://shop.example]", "{"])
def test_a_list_in_the_environment_that_is_not_json_is_refused_by_its_key(
    file: Path, monkeypatch: pytest.MonkeyPatch, sites: str
) -> None:
    monkeypatch.setenv("SITECHAT_CHAT__SITES", sites)

    assert "sites" in refusal(file).lower()


# -- unknown keys


@pytest.mark.parametrize(
    ("toml", "text"),
    [
        (
            'public_ulr = ""',
            "public_ulr is unknown; did you mean public_url? (config.toml, line 1)",
        ),
        (
            "[delivery]\nretry_second = 1",
            "delivery.retry_second is unknown; did you mean delivery.retry_seconds?"
            " (config.toml, line 2)",
        ),
        (
            '[bitrx24]\nportal = ""',
            "bitrx24.portal is unknown; did you mean bitrix24.portal? (config.toml, line 2)",
        ),
        (
            '[chat]\nsite = ""',
            "chat.site is unknown; did you mean chat.sites? (config.toml, line 2)",
        ),
        ("[zzz]\nqqqqqqqqqq = 1", "zzz.qqqqqqqqqq is unknown (config.toml, line 2)"),
    ],
)
def test_an_unknown_key_of_the_file_is_refused_with_the_nearest_known(
    file: Path, toml: str, text: str
) -> None:
    assert refusal(file, toml) == text


@pytest.mark.parametrize("toml", ["[strange]", "[chat.strange]", "strange = 1", "chat = 1"])
def test_whatever_is_not_known_is_refused_by_name(file: Path, toml: str) -> None:
    assert re.findall(r"\w+", toml)[-1 if "[" in toml else 0] in refusal(file, toml)


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("SITECHAT_PUBLIC_ULR", "SITECHAT_PUBLIC_URL"),
        ("SITECHAT_BITRIX24_PORTAL", "SITECHAT_BITRIX24__PORTAL"),
        ("SITECHAT_BITRIX24__CLIENT_SECERT", "SITECHAT_BITRIX24__CLIENT_SECRET"),
        ("SITECHAT_STORAGE__URI", "SITECHAT_STORAGE__URL"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_known(
    file: Path, monkeypatch: pytest.MonkeyPatch, variable: str, nearest: str
) -> None:
    monkeypatch.setenv(variable, SECRET)

    assert refusal(file) == f"{variable} is unknown; did you mean {nearest}?"


def test_all_faults_are_told_at_once(file: Path) -> None:
    unknown = refusal(file, "public_ulr = 1\n[chat]\ntitel = 1")
    wrong = refusal(file, 'public_url = "site"\n[chat]\nmessage_limit = 0')

    assert [line.split()[0] for line in unknown.splitlines()] == ["public_ulr", "chat.titel"]
    assert [line.split()[0] for line in wrong.splitlines()] == [
        "public_url:",
        "chat.message_limit:",
    ]


# -- addresses

ADDRESSES = ["public_url", "bitrix24.portal", "bitrix24.oauth_server"]


@pytest.mark.parametrize("key", ADDRESSES)
@pytest.mark.parametrize(
    "url",
    [
        "http://site.example",
        "http://10.0.0.1",
        "http://0.0.0.0:8080",
        "http://localhost.site.example",
        "http://127.0.0.1.site.example",
        "http://site.example/127.0.0.1",
        "HTTP://site.example",
    ],
)
def test_https_is_required_where_the_host_is_not_loopback(file: Path, key: str, url: str) -> None:
    assert refusal(file, toml_of(key, url)).startswith(f"{key}: must begin with https://")


@pytest.mark.parametrize("key", ADDRESSES)
@pytest.mark.parametrize(
    "url",
    [
        "https://site.example",
        "https://site.example:8443",
        "http://127.0.0.1:8080",
        "http://localhost",
        "http://[::1]:8080",
    ],
)
def test_https_anywhere_and_http_on_loopback_are_accepted(file: Path, key: str, url: str) -> None:
    assert value_of(load(file, toml_of(key, url)), key) == url


@pytest.mark.parametrize("key", ADDRESSES)
@pytest.mark.parametrize(
    "url",
    [
        "site.example",
        "//site.example",
        "https://",
        "https:///path",
        "ftp://site.example",
        "javascript:alert(1)",
        "https://site.example:port",
        "https://site.example:99999",
        "https://[::1",
        "https://site.example/?a=1",
        "https://site.example/#a",
        "https://site .example",
        "https://user:s3cr3t-of-the-application@site.example",
    ],
)
def test_what_is_not_a_plain_web_address_is_refused_by_its_key(
    file: Path, key: str, url: str
) -> None:
    text = refusal(file, toml_of(key, url))

    assert text.startswith(f"{key}: ")
    assert SECRET not in text


@pytest.mark.parametrize("key", ["public_url", "bitrix24.oauth_server"])
def test_an_address_that_is_needed_cannot_be_empty(file: Path, key: str) -> None:
    assert refusal(file, toml_of(key, "")).startswith(f"{key}: ")


@pytest.mark.parametrize("key", ADDRESSES)
@pytest.mark.parametrize("slashes", ["/", "//"])
def test_a_trailing_slash_is_dropped(file: Path, key: str, slashes: str) -> None:
    for url in ("https://site.example", "https://site.example/chat"):
        assert value_of(load(file, toml_of(key, url + slashes)), key) == url


@pytest.mark.parametrize(
    ("url", "prefix", "handler_url", "origin"),
    [
        ("https://site.example", "", "https://site.example/handler", "https://site.example"),
        (
            "https://site.example/my/chat/",
            "/my/chat",
            "https://site.example/my/chat/handler",
            "https://site.example",
        ),
        (
            "https://Site.Example:443/chat",
            "/chat",
            "https://site.example/chat/handler",
            "https://site.example",
        ),
        (
            "https://site.example:8443",
            "",
            "https://site.example:8443/handler",
            "https://site.example:8443",
        ),
        ("http://[::1]:8080/c", "/c", "http://[::1]:8080/c/handler", "http://[::1]:8080"),
        ("http://localhost:80", "", "http://localhost/handler", "http://localhost"),
    ],
)
def test_the_public_url_gives_prefix_handler_and_origin(
    file: Path, url: str, prefix: str, handler_url: str, origin: str
) -> None:
    settings = load(file, toml_of("public_url", url))

    assert settings.prefix == prefix
    assert settings.handler_url == handler_url
    assert settings.origin == origin


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("", "https://site.example/chat/"),
        ('[connector]\nwidget_uri = ""', ""),
        ('[connector]\nwidget_uri = "https://other.example/x"', "https://other.example/x"),
    ],
)
def test_the_widget_leads_to_the_chat_page_unless_told_otherwise(
    file: Path, toml: str, expected: str
) -> None:
    settings = load(file, f'public_url = "https://site.example/chat"\n{toml}')

    assert settings.widget_uri == expected


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("https://shop.example", "https://shop.example"),
        ("https://Shop.Example/", "https://shop.example"),
        ("https://shop.example:8443", "https://shop.example:8443"),
        ("https://shop.example:443", "https://shop.example"),
        ("http://localhost:80", "http://localhost"),
    ],
)
def test_a_site_is_kept_as_browsers_write_its_origin(file: Path, given: str, origin: str) -> None:
    assert load(file, f'[chat]\nsites = ["{given}"]').chat.sites == (origin,)


@pytest.mark.parametrize(
    "site", ["", "*", "shop.example", "http://shop.example", "https://shop.example/path"]
)
def test_a_site_that_is_not_an_origin_is_refused_by_its_key(file: Path, site: str) -> None:
    assert refusal(file, f'[chat]\nsites = ["{site}"]').startswith("chat.sites")


# Every key that holds an address, with how a value is written there.
HOSTS = {
    "public_url": "{}",
    "bitrix24.portal": "{}",
    "bitrix24.oauth_server": "{}",
    "bitrix24.js_api": "{}",
    "connector.widget_uri": "{}",
    "chat.consent_link": "{}",
    "chat.sites": "[{}]",
}


@pytest.mark.parametrize("key", HOSTS)
def test_every_address_has_one_form(file: Path, key: str) -> None:
    def read(url: str) -> Any:
        section, _, name = key.rpartition(".")
        value = HOSTS[key].format(f'"{url}"')
        toml = f"[{section}]\n{name} = {value}" if section else f"{name} = {value}"
        found = value_of(load(file, toml), key)
        return found if isinstance(found, str) else found[0]

    for given in ("https://Лампы.рф", "https://xn--80avem4d.XN--P1AI:443/", "https://лампы。рф."):
        assert read(given) == "https://xn--80avem4d.xn--p1ai"
    with pytest.raises(SettingsError, match=rf"^{re.escape(key)}.*no valid punycode"):
        read("https://xn--a.example")


def test_a_wildcard_at_the_wrong_place_is_refused_by_its_key(file: Path) -> None:
    text = refusal(file, '[chat]\nsites = ["https://shop.example", "https://shop.*"]')

    assert text.startswith('chat.sites.1: may have "*" only as the whole first part')


def test_the_whole_address_of_the_tokens_is_taken_for_that_of_the_oauth_server(
    file: Path,
) -> None:
    for path in ("", "/", "/oauth/token", "/oauth/token/"):
        settings = load(file, toml_of("bitrix24.oauth_server", f"https://b24.example/x{path}"))
        assert settings.bitrix24.oauth_server == "https://b24.example/x"


def test_a_ca_file_is_read_when_the_settings_are(file: Path, tmp_path: Path) -> None:
    pem = tmp_path / "ca.pem"
    pem.write_bytes(trustme.CA().cert_pem.bytes())

    assert load(file, toml_of("bitrix24.ca_file", str(pem))).bitrix24.ca_file == str(pem)
    relative = os.path.relpath(pem, ROOT)
    absolute = load(file, toml_of("bitrix24.ca_file", relative)).bitrix24.ca_file
    assert absolute == str(ROOT / relative)


@pytest.mark.parametrize("kind", ["missing", "folder", "key", "der", "empty"])
def test_a_ca_file_that_cannot_be_used_is_refused_with_the_reason(
    file: Path, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "ca.pem"
    authority = trustme.CA()
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        der = ssl.PEM_cert_to_DER_cert(authority.cert_pem.bytes().decode())
        key = authority.private_key_pem.bytes()
        path.write_bytes({"key": key, "der": der, "empty": b""}[kind])

    said = refusal(file, toml_of("bitrix24.ca_file", str(path)))

    why = "cannot be read: " if kind in ("missing", "folder") else "holds no certificate in PEM"
    assert said.startswith(f"bitrix24.ca_file: {path} {why}")


# -- other values


@pytest.mark.parametrize(
    "toml",
    [
        '[connector]\nid = "My.Connector"',
        '[connector]\nid = "a|b"',
        '[connector]\nid = ""',
        '[connector]\nname = ""',
        '[chat]\nlanguage = "de"',
        "[chat]\nmessage_limit = 20001",
        "[chat]\nmessage_limit = 0",
        "[chat]\nsession_days = -1",
        "[delivery]\nretry_seconds = 0",
        '[delivery]\ntimeout_seconds = "soon"',
        "[storage]\nurl = 5",
    ],
)
def test_a_value_that_cannot_work_is_refused_by_its_key(file: Path, toml: str) -> None:
    section, key = re.findall(r"\w+", toml)[:2]

    assert refusal(file, toml).startswith(f"{section}.{key}: ")


def test_settings_cannot_be_changed(file: Path) -> None:
    settings = load(file, "")

    with pytest.raises(ValidationError):
        settings.public_url = "https://other.example"
    with pytest.raises(ValidationError):
        settings.bitrix24.portal = "https://other.example"


@pytest.mark.parametrize(
    ("missing", "complete"),
    [("", True), ("portal", False), ("client_id", False), ("client_secret", False)],
)
def test_the_portal_is_complete_with_all_three_of_its_settings(
    file: Path, missing: str, complete: bool
) -> None:
    given = {"portal": "https://p.example", "client_id": "local.1", "client_secret": SECRET}
    lines = [f'{key} = "{value}"' for key, value in given.items() if key != missing]

    assert load(file, "\n".join(["[bitrix24]", *lines])).bitrix24.complete is complete


# -- secrets


def test_the_secret_is_not_in_any_picture_of_the_settings(file: Path) -> None:
    settings = load(file, f'[bitrix24]\nclient_secret = "{SECRET}"')

    assert settings.bitrix24.client_secret.get_secret_value() == SECRET
    for picture in (repr(settings), str(settings), repr(settings.bitrix24), f"{settings}"):
        assert SECRET not in picture
    assert SECRET not in settings.model_dump_json()


@pytest.mark.parametrize(
    "toml",
    [
        f'[bitrix24]\nclient_secret = ["{SECRET}"]',
        f'[bitrix24]\nclient_secret = {{ key = "{SECRET}" }}',
        f'[bitrix24]\nclient_secert = "{SECRET}"',
        f'[bitrix24]\nportal = "{SECRET}"',
        f'[bitrix24]\nclient_secret = "{SECRET}"\nportal = "http://p.example"',
        f'[bitrix24]\nclient_secret = "{SECRET}',
        f"[bitrix24]\nclient_secret = {SECRET}",
        f'[connector]\nid = "{SECRET}"',
        f'bitrix24 = "{SECRET}"',
    ],
)
def test_a_refusal_never_holds_the_secret(file: Path, toml: str) -> None:
    assert SECRET not in refusal(file, toml)


# -- the file


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml: there is no such settings file"):
        load_settings(tmp_path / "nowhere.toml")


def test_a_missing_file_named_by_the_environment_is_not_replaced_by_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITECHAT_CONFIG", str(tmp_path / "nowhere.toml"))

    with pytest.raises(SettingsError, match="nowhere"):
        load_settings()


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=re.escape(str(tmp_path))):
        load_settings(tmp_path)


@pytest.mark.parametrize("toml", ["[chat", 'public_url = "', "a = 1\na = 2", "= 1"])
def test_broken_toml_is_refused_with_the_file_and_the_line(file: Path, toml: str) -> None:
    text = refusal(file, toml)

    assert text.startswith(f"{file}: ")
    assert "line" in text or "end of document" in text


def test_a_file_that_is_not_utf8_is_refused_with_its_name(file: Path) -> None:
    file.write_bytes(b'[chat]\ntitle = "\xff"')

    with pytest.raises(SettingsError, match=re.escape(str(file))):
        load_settings(file)


# -- storage.url


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("mysql://chat:s3cr3t-of-the-application@db/chats", "mysql"),
        ("mysql:///chats", "mysql"),
        ("redis://db", "redis"),
    ],
)
def test_a_store_we_do_not_have_is_refused_with_what_is_right(
    tmp_path: Path, url: str, scheme: str
) -> None:
    with pytest.raises(ValueError, match=r"^storage\.url: use sqlite:///") as caught:
        Store(url, tmp_path, renderer=1)

    assert f'not "{scheme}' in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", ["", "chats.db", "sqlite://chats.db", "sqlite:///", "sqlite:"])
def test_an_incomplete_store_url_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match=r"^storage\.url: use sqlite:///"):
        Store(url, tmp_path, renderer=1)


@pytest.mark.parametrize(
    "address",
    [
        "user:pass@host/name",
        "user@host:5432/name?sslmode=verify-full",
        "/name",
        "/name?host=/run/postgresql",
        "one:5432,two:5433/name?target_session_attrs=read-write",
        "user:p%40ss%2Fword@[2001:db8::1]:5432/name",
    ],
)
@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_an_address_of_postgresql_names_a_store(file: Path, scheme: str, address: str) -> None:
    url = f"{scheme}://{address}"

    assert load(file, f'[storage]\nurl = "{url}"').storage.url == url


@pytest.mark.parametrize(
    "address",
    [
        f"user:{SECRET}@host",
        f"user:{SECRET}@host:port/name",
        f"user:{SECRET}/slash@host/name",
        f"user:{SECRET}#hash@host/name",
        f"user:{SECRET}@at@@host/name",
        f"user:{SECRET}@host/name?sslmode",
        f"user:{SECRET}@[host/name",
    ],
)
def test_a_wrong_address_of_postgresql_is_refused_and_its_password_not_shown(
    file: Path, address: str
) -> None:
    said = refusal(file, f'[storage]\nurl = "postgresql://{address}"')

    assert "storage.url" in said
    assert "postgresql://user:password@host:5432/name" in said
    assert SECRET not in said


@pytest.mark.parametrize(
    "address",
    [
        f"password={SECRET} host=db",
        f"{SECRET}@host:5432/name",
        f"{SECRET}",
        f"{SECRET}://host/name",
        f"postgresql:/anna:{SECRET}@host/name",
        f" postgresql://anna:{SECRET}@host/name",
    ],
)
def test_what_is_no_address_of_a_store_is_not_shown(file: Path, address: str) -> None:
    said = refusal(file, f'[storage]\nurl = "{address}"')

    assert "postgresql://user@host/name" in said
    assert SECRET[:6] not in said, "nor the beginning of it"


def test_a_relative_store_lies_below_the_root_and_an_absolute_one_where_it_says(
    tmp_path: Path,
) -> None:
    assert path_of(Store("sqlite:///a/b.db", tmp_path, renderer=1)) == tmp_path / "a/b.db"
    assert path_of(Store("sqlite:////var/b.db", tmp_path, renderer=1)) == Path("/var/b.db")


# -- what may be a mistake


@pytest.mark.parametrize(
    ("url", "files", "relative"),
    [
        ("sqlite:///chats/chats.db", "chats/files", None),
        ("sqlite:////var/lib/chat/chats.db", "/var/lib/chat/files", None),
        ("sqlite:////var/lib/chat/chats.db", "chats/files", "storage.files"),
        ("sqlite:///chats/chats.db", "/var/lib/chat/files", "storage.url"),
    ],
)
def test_store_and_files_in_different_folders_are_doubted(
    file: Path, url: str, files: str, relative: str | None
) -> None:
    said = doubts(load(file, f'[storage]\nurl = "{url}"\nfiles = "{files}"'))

    assert [line.partition(" is relative")[0] for line in said] == ([relative] if relative else [])


def test_a_store_that_was_moved_away_from_the_default_folder_of_files_is_doubted(
    file: Path,
) -> None:
    assert len(doubts(load(file, '[storage]\nurl = "sqlite:////var/lib/chat/chats.db"'))) == 1
    assert doubts(load(file, "")) == []


@pytest.mark.parametrize(
    ("url", "doubted"),
    [
        ("https://intranet/chat", True),
        ("https://[2001:db8::1]:8443", True),
        ("https://intranet.local", False),
        ("https://192.0.2.1", False),
        ("http://localhost:8080", False),
        ("http://[::1]:8080", False),
    ],
)
def test_a_host_to_which_no_event_is_posted_is_doubted(file: Path, url: str, doubted: bool) -> None:
    said = doubts(load(file, toml_of("public_url", url)))

    assert [line.partition(" has a host")[0] for line in said] == ["public_url"] * doubted


def test_an_older_file_with_a_key_that_has_no_use_any_more_goes_on(file: Path) -> None:
    (said,) = doubts(load(file, "[limits]\nvisits_per_minute = 6\nvisitor_per_minute = 9"))

    assert said.startswith("limits.visits_per_minute has no use any more")
    assert "limits.visits_per_minute" not in known_keys()


def test_an_older_environment_with_such_a_key_goes_on(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITECHAT_LIMITS__VISITS_PER_MINUTE", "6")

    (said,) = doubts(load(file, ""))

    assert said.startswith("limits.visits_per_minute has no use any more")


def test_doubts_are_in_the_log_of_a_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    create_app(Settings(storage=StorageSettings(url=f"sqlite:///{tmp_path}/chats.db")))

    assert "settings: storage.files is relative" in caplog.text
