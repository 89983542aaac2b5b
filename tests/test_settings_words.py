"""What is said of mistakes in settings: the line, the cure and the value that was meant."""

import re
from pathlib import Path

import pytest

from settings import SettingsError, load_settings

pytestmark = pytest.mark.usefixtures("bare_environment")
SECRET = "s3cr3t-of-the-application"
OTHER_SECRET = "Zx81" * 12  # as long as Bitrix24's
ID = "local.5c8bb1b0891cf2.87252039"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def refusals(file: Path, toml: str) -> dict[str, str]:
    """What is said in each language."""
    file.write_text(toml, "utf-8")
    said = {}
    for language in ("en", "ru"):
        with pytest.raises(SettingsError) as caught:
            load_settings(file, language)
        said[language] = str(caught.value)
    assert re.search("[а-я]{4}", said["ru"].replace(toml, ""))
    assert not re.search(r"\b(must|write|line|is|has)\b", said["ru"].partition("; вот она")[0])
    assert not re.search("[{}]", said["en"].partition("; the line is")[0])
    return said


# -- lines that are no TOML


@pytest.mark.parametrize(
    ("toml", "line", "cure"),
    [
        ("title = “Чат”", 1, "typographic quotes"),
        ('[chat]\ntitle = "Чат”', 2, "typographic quotes"),
        ("[chat]\ntitle = «Чат»", 2, "typographic quotes"),
        ("[chat]\nsites = [“https://a.example”]", 2, "typographic quotes"),
        ("[chat]\ntitle = ‘Чат’", 2, "typographic quotes"),
        ('[chat]\ntitle = "Чат «Ромашка»', 2, "quote at the end"),
        ('[chat]\ntitle = "Чат', 2, "quote at the end"),
        ("[chat]\r\ntitle = 'Чат\r\naccent = ''\r\n", 2, "quote at the end"),
        ('[chat]\nsites = [\n  "https://a.example",\n  "https://b.e\n]', 4, "quote at the end"),
        ('[chat]\ntitle = "Чат "Ромашка""', 2, 'a quote within a text is written \\"'),
        ('[chat]\ntitle = "a" accent = "b"', 2, "nothing more than a comment"),
        ('[chat] title = "x"', 1, "nothing more than a comment"),
        ("[chat", 1, "square brackets"),
        ("[чат]", 1, "Latin letters only"),
        ('[chat]\ntitle: "x"', 2, "stands =, not :"),
        ('[chat]\ntitle "x"', 2, "key = value"),
        ("[chat]\ntitle = Наш чат", 2, "straight quotes"),
        ("public_url = https://chat.example", 1, "straight quotes"),
        ("[chat]\naccent = #c8102e", 2, "straight quotes"),
        ('[bitrix24]\nca_file = "C:\\certs\\ca.pem"', 2, "write / in paths"),
        ("[files]\nenabled = True", 2, "true or false, in small letters"),
        ("[files]\nenabled = да", 2, "true or false, in small letters"),
        ("[files]\nmegabytes = 20MB", 2, "digits only"),
        ("[files]\nmegabytes = 20 000", 2, "digits only"),
        ("[delivery]\nretry_seconds = 1,5", 2, "a dot before its decimals"),
        ("[chat]\nkeep_days = 007", 2, "digits only"),
        ("// ours", 1, "begins with #"),
        ("; ours", 1, "begins with #"),
        ('\n[chat]\nsites = ["https://a.example"\n\n[files]\nmegabytes = 3', 3, "not closed"),
        ('[chat]\nsites = ["https://a.example" "https://b.example"]', 2, "between its values"),
        ("[chat]\nsites = [https://a.example]", 2, "the list"),
        ('[chat]\n\nconsent = """abc\nd\n[files]\nmegabytes = 3\n', 3, 'close it with """'),
        ("[chat]\ntitle = 'a'\n\n[files]\n[chat]\naccent = ''", 5, "chat stands twice"),
        ("[chat]\ntitle='a'\naccent=''\ntitle='b'", 4, "title stands twice; the first is"),
        ("[files]\nmegabytes = 1\n[chat]\nkeep_days = 1\nkeep_days = 2", 5, "is in line 4"),
        ("[chat]\n<<<<<<< HEAD\ntitle = 'a'\n=======\n>>>>>>> main", 2, "both versions"),
        ("[chat]\ntitle\u00a0=\u00a0'a'", 2, "invisible character"),
        ("[chat]\u200b\ntitle = 'a'", 1, "invisible character"),
        ("рublic_url = 'https://a.example'", 1, "letter that is not Latin"),
        ("[chat]\ntitle =\naccent = ''", 2, 'an empty text is ""'),
        ("[chat]\ntitle =", 2, 'an empty text is ""'),
        ("[chat]\n= 'a'", 2, "key before = is missing"),
        ("[chat]\nthe title = 'a'", 2, "has a space"),
        ("SITECHAT_CHAT__TITLE=Чат", 1, "how .env and the environment write it"),
        ('{"chat": {"title": "x"}}', 1, "key = value"),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_read_is_told_with_its_number_its_text_and_the_cure(
    file: Path, toml: str, line: int, cure: str
) -> None:
    said = refusals(file, toml)

    text = re.split("\r?\n", toml)[line - 1].strip()
    start = re.escape(f"{file}: ")
    assert re.fullmatch(rf"{start}line {line}: .*; the line is: .+", said["en"])
    assert re.fullmatch(rf"{start}строка {line}: .*; вот она: .+", said["ru"])
    assert cure in said["en"]
    for told in said.values():
        assert text[:8] in re.split("; (?:the line is|вот она): ", told)[1]


@pytest.mark.parametrize("secret", [SECRET, OTHER_SECRET])
@pytest.mark.parametrize(
    "toml",
    [
        '[bitrix24]\nclient_secret = "{}',
        "[bitrix24]\nclient_secret = “{}”",
        "[bitrix24]\nclient_secret = {}",
        "[bitrix24]\nclient_secret: '{}'",
        "[bitrix24]\nclient_secret '{}'",
        "[bitrix24]\nclient_secret =\n'{}'",
        "[bitrix24]\n'{}'",
        "[bitrix24]\nclient_secert = '{}",
        "[bitrix24]\nclient_id = '{}",
        "[bitrix24]\nportal = '{}",
        '[bitrix24]\nportal = "https://a.example" client_secret = "{}"',
        '[bitrix24]\nclient_secret = """{}',
        "[bitrix24]\nclient_secret = '{0}'\nclient_secret = '{0}'",
        "bitrix24 = {{client_secret = '{}'",
        "SITECHAT_BITRIX24__CLIENT_SECRET={}",
        "[chat]\nidentity_secret = {}",
        "[operations]\ntoken = {}",
        '[operations]\ntoken = "{}\\n"',
        '[bitrix24]\nportal = "{}"',
        'public_url = "https://company.bitrix24.ru/rest/1/{}/"',
        '[bitrix24]\nportal = "https://company.bitrix24.ru/rest/1/{}/?auth={}"',
        '[bitrix24]\nportal = "https://admin:{}@company.bitrix24.ru"',
        '[bitrix24]\nclient_secret = " {}"',
        '[bitrix24]\nclient_secret = "{}ы"',
        '[chat]\nidentity_secret = "{} "',
    ],
)
def test_nothing_that_is_said_holds_a_secret(file: Path, toml: str, secret: str) -> None:
    for told in refusals(file, toml.format(secret, secret)).values():
        assert secret not in told
        assert secret[:10] not in told


@pytest.mark.parametrize(
    "line",
    [
        "client_secret = 'pw-9x",
        "client_secret = pw-9x",
        "client_secret: pw-9x",
        "client_secret pw-9x",
        "client_id = “pw-9x”",
        "client_secert = 'pw-9x",
        "token = pw-9x",
        "password = pw-9x",
        "portal = 'https://a.example' client_secret = 'pw-9x'",
        'client_secret = """pw-9x',
    ],
)
def test_of_a_line_with_a_secret_only_its_key_is_shown(file: Path, line: str) -> None:
    """A secret may be short."""
    for told in refusals(file, f"[bitrix24]\n{line}").values():
        assert "pw-9x" not in told


# -- values

COPIED = "space or an invisible character"


@pytest.mark.parametrize(
    ("key", "value", "why", "meant"),
    [
        ("public_url", "https://chat.example/install", "one page of this", "https://chat.example"),
        ("public_url", "https://a.example/chat/handler/", "one page", "https://a.example/chat"),
        ("public_url", "https://chat.example/install?LANG=ru", "query", "https://chat.example"),
        ("public_url", "https://чат.рф/static/loader.js", "one page", "https://чат.рф"),
        ("public_url", "chat.example", "without https://", "https://chat.example"),
        ("public_url", "chat.example:8443/x", "without https://", "https://chat.example:8443/x"),
        ("public_url", "127.0.0.1:8080", "without https://", "http://127.0.0.1:8080"),
        ("public_url", "https//chat.example", "without https://", "https://chat.example"),
        ("public_url", "https:/chat.example", "must be an address", "https://chat.example"),
        ("public_url", "htps://chat.example", "must be an address", "https://chat.example"),
        ("public_url", " https://chat.example", COPIED, "https://chat.example"),
        ("public_url", "https://chat.example\u00a0", COPIED, "https://chat.example"),
        ("public_url", "https:// chat.example", COPIED, "https://chat.example"),
        ("public_url", "“https://chat.example”", "quotes or brackets", "https://chat.example"),
        ("public_url", "<https://chat.example>", "quotes or brackets", "https://chat.example"),
        ("public_url", "http://chat.example", "begin with https://", "https://chat.example"),
        ("public_url", "https://u:pw@chat.example", "no user", "https://chat.example"),
        ("public_url", "https://chat.example,", "no domain name", "https://chat.example"),
        ("public_url", "https://company.bitrix24.ru", "belongs into bitrix24.portal", None),
        ("public_url", ID, "is the client_id", None),
        ("public_url", "/chat", "without https://", None),
        ("public_url", "", "must not be empty", None),
        ("bitrix24.portal", "https://c.bitrix24.ru/stream/", "one page", "https://c.bitrix24.ru"),
        ("bitrix24.portal", "https://c.bitrix24.ru/x", "one page", "https://c.bitrix24.ru"),
        (
            *("bitrix24.portal", "https://c.bitrix24.com.br/marketplace/app/3/?a=1#b"),
            *("query", "https://c.bitrix24.com.br"),
        ),
        ("bitrix24.portal", "c.bitrix24.by/crm/", "without https://", "https://c.bitrix24.by"),
        ("bitrix24.portal", "http://c.bitrix24.kz", "begin with https", "https://c.bitrix24.kz"),
        (
            *("bitrix24.portal", "https://in.example:8443/portal/company/personal/user/1/"),
            *("one page", "https://in.example:8443/portal"),
        ),
        ("bitrix24.portal", "https://www.bitrix24.ru/", "Bitrix24 itself", None),
        ("bitrix24.portal", "https://oauth.bitrix24.tech", "Bitrix24 itself", None),
        ("bitrix24.portal", ID, "is the client_id", None),
        ("bitrix24.client_id", OTHER_SECRET, "looks like the client_secret", None),
        ("bitrix24.client_id", f" {ID}", COPIED, None),
        ("bitrix24.client_id", f"{ID}\u00a0", COPIED, None),
        ("bitrix24.client_id", f"«{ID}»", "quotes or brackets", None),
        ("bitrix24.client_id", ID.replace("c", "с"), "character 3", None),
        ("bitrix24.client_id", "https://company.bitrix24.ru", "is a web address", None),
        ("bitrix24.client_secret", ID, "is the client_id", None),
        ("bitrix24.client_secret", f"{OTHER_SECRET}\u2028", COPIED, None),
        ("bitrix24.client_secret", f"'{OTHER_SECRET}'", "quotes or brackets", None),
        ("bitrix24.oauth_server", "oauth.example/", "without https://", "https://oauth.example"),
        ("bitrix24.ca_file", "/nowhere.pem", "there is no such file", None),
        ("chat.consent_link", "a.example/law", "without https://", "https://a.example/law"),
        ("chat.sites", "https://a.example", "must be a list", '["https://a.example"]'),
        (
            *("chat.sites", "a.example, https://b.example"),
            *("must be a list", '["https://a.example", "https://b.example"]'),
        ),
        ("chat.sites.0", "https://a.example/shop/?p=1", "query", "https://a.example"),
        ("chat.sites.0", "https://a.example/shop", "without a path", "https://a.example"),
        ("chat.sites.0", "a.example", "without https://", "https://a.example"),
        ("chat.sites.0", "*.a.example", "without https://", "https://*.a.example"),
        ("chat.accent", "red", "such as #c8102e", None),
        ("chat.accent", "c8102e", "such as #c8102e", "#c8102e"),
        ("chat.accent", "#abc", "such as #c8102e", "#aabbcc"),
        ("chat.language", "de", '"auto", "en", "ru"', None),
        ("connector.name", "", "must not be empty", None),
        ("chat.title", "x" * 101, "100 characters or less", None),
        ("chat.message_limit", "many", "a whole number", None),
        ("chat.message_limit", "20001", "20000 or less", None),
        ("chat.message_limit", "0", "more than 0", None),
        ("chat.keep_days", "-1", "0 or more", None),
        ("chat.share_visitors", "да", "true or false", None),
        ("delivery.retry_seconds", "soon", "a number such as 1.5", None),
        ("connector.id", "My.Connector", "lower-case Latin letters", None),
        ("files.types.0", ".PNG", "without the dot", None),
        ("operations.token", "short", "32 characters or more", None),
        ("operations.token", f"{OTHER_SECRET} x", COPIED, None),
        ("logs.format", "yaml", '"text", "json"', None),
        ("public_url", "https://https://a.example", "twice", "https://a.example"),
        ("public_url", "http://https//a.example/x", "twice", "https://a.example/x"),
        ("public_url", "mailto:info@a.example", "must be an address", None),
        ("public_url", "info@a.example", "without https://", None),
        ("chat.consent_link", "mailto:info@a.example", "must be an address", None),
        ("chat.consent_link", "javascript:alert(1)", "must be an address", None),
        (
            *("chat.consent_link", "http://a.example/?page_id=3"),
            *("begin with https", "https://a.example/?page_id=3"),
        ),
        ("chat.consent_link", "?page_id=3", "must not be empty", None),
        (
            *("chat.consent_link", "https://a.example/?page_id=3”"),
            *("quotes", "https://a.example/?page_id=3"),
        ),
        ("chat.session_days", "99999999999", "36500 or less", None),
        ("chat.keep_days", "36501", "36500 or less", None),
        ("chat.title", "  \u200b", "nothing that can be seen", None),
        ("connector.name", "\u2060", "nothing that can be seen", None),
        ("chat.consent", " ", "nothing that can be seen", None),
        ("storage.files", " ", "nothing that can be seen", None),
        ("storage.files", "database", 'storage.files_in = "database"', None),
        ("storage.files", "s3://bucket/files", "path of a folder", None),
        ("storage.files_in", "databse", '"folder", "database"', None),
        ("chat.identity_secret", f"“{OTHER_SECRET}”", "quotes or brackets", None),
        ("limits.address_streams", "99999999999999999999", "1000000000 or less", None),
        ("delivery.timeout_seconds", "inf", "a number such as 1.5", None),
        ("recovery.seconds", "nan", "a number such as 1.5", None),
        ("delivery.retry_seconds", "1e300", "31536000 or less", None),
        ("storage.url", "sqlite:///:memory:", "loses all messages", None),
        ("storage.url", "sqlite:///file:x?mode=memory", "loses all messages", None),
        ("storage.url", "/var/lib/chats.db", "path of a file", "sqlite:////var/lib/chats.db"),
    ],
)
def test_a_value_that_cannot_be_used_is_told_with_the_one_that_was_meant(
    file: Path, key: str, value: str, why: str, meant: str | None
) -> None:
    section, _, name = key.removesuffix(".0").rpartition(".")
    given = f"['''{value}''']" if key.endswith(".0") else f"'''{value}'''"

    said = refusals(file, f"[{section}]\n{name} = {given}" if section else f"{name} = {given}")

    line = 2 if section else 1
    assert said["en"].startswith(f"{key}: ")
    assert why in said["en"]
    assert said["en"].endswith(f"(config.toml, line {line})")
    assert said["ru"].startswith(f"{key}: ")
    assert said["ru"].endswith(f"(config.toml, строка {line})")
    assert ("; write " in said["en"]) == ("; напишите " in said["ru"]) == (meant is not None)
    if meant is not None:
        assert said["en"].endswith(f"; write {meant} (config.toml, line {line})")
        assert f"; напишите {meant} (" in said["ru"]


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('chat = "x"', "chat: is a section"),
        ("[[chat]]\ntitle = 'x'", "chat: is a section"),
        ("[public_url]\nx = 1", "public_url: is no section"),
        ("[chat]\npublic_url = 'https://a.example'", "public_url belongs to the top of the file"),
        ("title = 'x'", "title is unknown; did you mean chat.title?"),
        ("[files]\nsites = []", "files.sites is unknown; did you mean chat.sites?"),
        ("'SITECHAT_CHAT__TITLE' = 'x'", "did you mean chat.title?"),
        ("[chat.title]\nx = 1", "chat.title: must be text"),
        ("[chat]\ntitle = 5", "chat.title: must be text in straight quotes"),
        ("[chat]\nsites = 5", "chat.sites: must be a list"),
        ("[files]\nenabled = 'maybe'", "files.enabled: must be true or false"),
        ("[files]\nmegabytes = 1.5", "files.megabytes: must be a whole number"),
        ("[files]\nmegabytes = 2000-01-01", "files.megabytes: must be a whole number"),
        ("[nothing]", "nothing is unknown"),
        ("[files]\nmegabytes = true", "files.megabytes: must be a whole number"),
        ("[server]\nproxies = false", "server.proxies: must be a whole number"),
        ("[delivery]\nretry_seconds = true", "delivery.retry_seconds: must be a number"),
        ("[delivery]\nretry_limit_seconds = inf", "retry_limit_seconds: must be a number"),
        ('[storage]\nurl = "sqlite:///a\\u0000b"', "storage.url: has a space or an invisible"),
    ],
)
def test_a_key_at_a_wrong_place_or_of_a_wrong_type_is_told(
    file: Path, toml: str, said: str
) -> None:
    assert said in refusals(file, toml)["en"]


def test_addresses_and_secrets_that_are_right_are_taken(file: Path) -> None:
    """Those that resemble a mistake."""
    file.write_text(
        f"public_url = 'https://install.example/company/crm'\n[bitrix24]\n"
        f"portal = 'https://intranet.example:8443/portal'\nclient_id = '{ID}'\n"
        f"client_secret = '{OTHER_SECRET}'\n[chat]\naccent = '#ABCDEF'\ntitle = '«Лампы»'\n"
        f"sites = ['https://b24-abc.bitrix24.site']\nconsent_link = 'https://a.example/install'\n",
        "utf-8",
    )

    settings = load_settings(file)

    assert settings.bitrix24.complete
    assert settings.prefix == "/company/crm"
    assert settings.chat.title == "«Лампы»"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://a.example/?page_id=3", "https://a.example/?page_id=3"),
        ("https://a.example?page_id=3", "https://a.example/?page_id=3"),
        ("https://a.example/law?x#y", "https://a.example/law?x#y"),
        ("https://a.example/law/?a=b&c=ы#part-2", "https://a.example/law/?a=b&c=%D1%8B#part-2"),
        ("https://лампы.рф/#согласие", None),
        ("https://a.example/law/", "https://a.example/law"),
    ],
)
def test_the_page_about_consent_may_have_a_query_and_a_fragment(
    file: Path, given: str, kept: str | None
) -> None:
    """As the pages of WordPress without permalinks have."""
    file.write_text(f"[chat]\nconsent_link = '{given}'\n", "utf-8")

    link = load_settings(file).chat.consent_link

    assert link == kept or (kept is None and link.startswith("https://xn--80avem4d.xn--p1ai/#%D1"))
