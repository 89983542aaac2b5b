"""`config.toml` and the environment, read into one frozen and checked object.

An unknown key is refused, and the error names the nearest known key: a typing error never
silently means the default. Knows nothing of Flask, the store or Bitrix24's methods.
"""

import difflib
import json
import os
import re
import ssl
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from addresses import domain_of, is_listed, is_loopback, origin_of, site, web_address

ROOT = Path(__file__).parent
PREFIX = "SITECHAT_"
SECRET_LENGTH = 32


class SettingsError(Exception):
    """The settings cannot be used; the text names the key and the cure, never a secret."""


def _web_url(value: str) -> str:
    """The one form of an address, which is compared and sent; "" where it is left out."""
    return web_address(value) if value else value


def _store_url(value: str) -> str:
    if not re.fullmatch(r"sqlite:///.+", value):
        scheme = value.partition(":")[0][:20]  # the rest may hold a password
        raise ValueError(f'use sqlite:///path/to/file.db, not "{scheme}:..."')
    return value


def _given_url(value: str) -> str:
    if not value:
        raise ValueError("must not be empty")
    return web_address(value)


def _site(value: str) -> str:
    if not value:
        raise ValueError("must not be empty")
    return site(value)


def _json_list(value: object) -> object:
    """A list from the environment, where everything is text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError('must be a JSON list such as ["https://shop.example"]') from None


def _long_secret(value: SecretStr) -> SecretStr:
    """A secret that cannot be guessed; it may be left out."""
    if 0 < len(value.get_secret_value()) < SECRET_LENGTH:
        raise ValueError(f"must have {SECRET_LENGTH} characters or more: openssl rand -hex 32")
    return value


def _oauth_server(value: str) -> str:
    """The server's address; also where somebody has copied the whole address of the tokens."""
    return _given_url(value).removesuffix("/oauth/token")


def _ca_file(value: str) -> str:
    """The absolute path of a file with certificates, which can be read now; "" if left out."""
    if not value:
        return value
    path = ROOT / value
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise ValueError(f"{path} holds no certificate in PEM form") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a file name"
        raise ValueError(f"{path} cannot be read: {why}") from None
    return str(path)


WebUrl = Annotated[str, AfterValidator(_web_url)]  # or "", where it may be left out
GivenUrl = Annotated[str, AfterValidator(_given_url)]
Site = Annotated[str, AfterValidator(_site)]
Ending = Annotated[str, Field(pattern=r"^[a-z0-9]{1,10}$")]  # of a file's name, without the dot


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Bitrix24Settings(Section):
    portal: WebUrl = ""
    client_id: str = ""
    client_secret: SecretStr = SecretStr("")
    oauth_server: Annotated[str, AfterValidator(_oauth_server)] = "https://oauth.bitrix24.tech"
    ca_file: Annotated[str, AfterValidator(_ca_file)] = ""  # besides the well-known authorities
    js_api: GivenUrl = "https://api.bitrix24.com/api/v1"

    @property
    def complete(self) -> bool:
        """Whether the three settings that only the company can know are given."""
        return bool(self.portal and self.client_id and self.client_secret.get_secret_value())


class ConnectorSettings(Section):
    id: str = Field(default="example_connector_1", pattern=r"^[a-z0-9_]{1,60}$")
    name: str = Field(default="ExampleSiteChat", min_length=1, max_length=255)
    widget_name: str = "ExampleSiteChatWidget"
    widget_uri: WebUrl | None = None  # None: the chat page; "": connector.data.set is skipped


class ChatSettings(Section):
    title: str = Field(default="Chat with us", min_length=1, max_length=100)
    language: Literal["auto", "en", "ru"] = "auto"
    sites: Annotated[tuple[Site, ...], NoDecode, BeforeValidator(_json_list)] = ()
    share_visitors: bool = False  # between the sites of one domain that has an entry with "*"
    identity_secret: Annotated[SecretStr, AfterValidator(_long_secret)] = SecretStr("")
    # Characters; the portal cuts a longer text.
    message_limit: PositiveInt = Field(default=20_000, le=20_000)
    session_days: PositiveInt = 365
    accent: str = Field(default="", pattern=r"^(#[0-9A-Fa-f]{6})?$")
    consent: str = Field(default="", max_length=2000)
    consent_link: WebUrl = ""

    def lists(self, origin: str) -> bool:
        """Whether the pages of this origin, as browsers send it, may embed the chat."""
        return is_listed(origin, self.sites)

    def domain_of(self, origin: str) -> str:
        """The entry for all subdomains that the origin of an embedding site falls under, or ""."""
        return domain_of(origin, self.sites)


class FilesSettings(Section):
    enabled: bool = True
    megabytes: PositiveInt = Field(default=20, le=1000)  # of one file
    types: Annotated[tuple[Ending, ...], NoDecode, BeforeValidator(_json_list)] = (
        *("png", "jpg", "jpeg", "gif", "webp", "heic", "heif", "avif", "pdf", "txt", "csv", "rtf"),
        *("doc", "docx", "odt", "xls", "xlsx", "ods", "ppt", "pptx", "odp"),
        *("zip", "mp3", "m4a", "ogg", "wav", "mp4", "mov", "webm"),
    )

    @property
    def largest_bytes(self) -> int:
        return self.megabytes << 20


class DeliverySettings(Section):
    retry_seconds: PositiveFloat = 1.0  # after the first failure; doubles each time
    retry_limit_seconds: PositiveFloat = 60.0  # the longest pause
    timeout_seconds: PositiveFloat = 70.0  # of a send; the portal itself ends a call after 60
    settle_seconds: PositiveFloat = 10.0  # after a lost answer the portal may still store so long
    unconfirmed: Literal["repeat", "keep"] = "repeat"  # if nobody can tell whether it arrived


class RecoverySettings(Section):
    seconds: PositiveFloat = 180.0  # between two recoveries of answers whose events were lost
    active_hours: PositiveFloat = 168.0  # a recovery reads chats until they are quiet for so long


class LimitsSettings(Section):
    visitor_per_minute: PositiveInt = 300  # messages
    address_per_minute: PositiveInt = 15_000  # messages of all visitors behind one address
    address_chats_per_minute: PositiveInt = 300  # new conversations from one address
    address_waiting: PositiveInt = 2_000  # messages of one address that wait for delivery
    address_streams: PositiveInt = 1_000  # open pages behind one address, in each process
    installs_per_minute: PositiveInt = 60  # installs and connects from one address
    failed_proofs_per_minute: PositiveInt = 30  # unknown tokens, from all addresses together
    visits_per_minute: Any = Field(default=None, deprecated="visits of /install cost nothing now")


class ServerSettings(Section):
    proxies: int = Field(default=0, ge=0, le=10)  # how many in front of us add X-Forwarded-For


class StorageSettings(Section):
    url: Annotated[str, AfterValidator(_store_url)] = "sqlite:///chats/chats.db"
    files: str = Field(default="chats/files", min_length=1)


class OperationsSettings(Section):
    token: Annotated[SecretStr, AfterValidator(_long_secret)] = SecretStr("")  # of /metrics


class LogsSettings(Section):
    format: Literal["text", "json"] = "text"


class Settings(BaseSettings):
    """All settings; frozen. Read them with `load_settings`, which explains what is wrong."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    public_url: GivenUrl = "http://127.0.0.1:8080"
    bitrix24: Bitrix24Settings = Bitrix24Settings()
    connector: ConnectorSettings = ConnectorSettings()
    chat: ChatSettings = ChatSettings()
    files: FilesSettings = FilesSettings()
    delivery: DeliverySettings = DeliverySettings()
    recovery: RecoverySettings = RecoverySettings()
    limits: LimitsSettings = LimitsSettings()
    server: ServerSettings = ServerSettings()
    storage: StorageSettings = StorageSettings()
    operations: OperationsSettings = OperationsSettings()
    logs: LogsSettings = LogsSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The environment wins over the file, whose values come as arguments.
        return EnvSettingsSource(settings_cls), init_settings

    @property
    def origin(self) -> str:
        """Scheme, host and port of `public_url`, as a browser's Origin header has them."""
        return origin_of(self.public_url)

    @property
    def prefix(self) -> str:
        """The path below which the application lives; "" if it lives at the host's root."""
        return urlsplit(self.public_url).path

    @property
    def handler_url(self) -> str:
        return f"{self.public_url}/handler"

    @property
    def widget_uri(self) -> str:
        """Where Bitrix24 sends people who choose this chat; "" if Bitrix24 is told no address."""
        uri = self.connector.widget_uri
        return f"{self.public_url}/" if uri is None else uri


def load_settings(path: Path | None = None) -> Settings:
    """Read `config.toml` (or `path`, or the file SITECHAT_CONFIG names) and the environment.

    Raises SettingsError with one line a fault.
    """
    path = path or Path(os.environ.get(f"{PREFIX}CONFIG") or ROOT / "config.toml")
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such settings file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None
    unknown = [*_unknown_keys(values), *_unknown_environment()]
    if unknown:
        raise SettingsError("\n".join(unknown))
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(fault) for fault in error.errors())) from None


def known_keys() -> list[str]:
    """Every key that has a use, as `section.key`, in the order of the classes."""
    return [key for key, field in _fields().items() if not field.deprecated]


def doubts(settings: Settings) -> list[str]:
    """What may be a mistake in settings that can be used; a line for the log each."""
    lines = [
        f"{key} has no use any more: {field.deprecated}; remove it from the settings"
        for key, field in _fields().items()
        if field.deprecated and key.partition(".")[2] in _section_of(settings, key).model_fields_set
    ]
    host = urlsplit(settings.public_url).hostname or ""
    if "." not in host and not is_loopback(host):
        lines.append(
            f"public_url has a host without a dot ({host}): Bitrix24 posts no events to such a"
            " host, so operators' answers come minutes late"
        )
    store = Path(settings.storage.url.partition(":///")[2])
    files = Path(settings.storage.files)
    if store.is_absolute() != files.is_absolute():
        relative, other = ("url", "files") if files.is_absolute() else ("files", "url")
        lines.append(
            f"storage.{relative} is relative, so it lies below {ROOT}, while storage.{other} is"
            " absolute: a backup of one folder does not hold both"
        )
    return lines


def _section_of(settings: Settings, key: str) -> Section:
    section: Section = getattr(settings, key.partition(".")[0])
    return section


def _fields() -> dict[str, FieldInfo]:
    """Every key that may be given, also one without a use, which older settings may still have."""
    fields: dict[str, FieldInfo] = {}
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            fields |= {f"{name}.{key}": inner for key, inner in section.model_fields.items()}
        else:
            fields[name] = field
    return fields


def _unknown_keys(values: dict[str, Any]) -> list[str]:
    given_keys = []
    for name, value in values.items():
        if isinstance(value, dict):
            given_keys += [f"{name}.{key}" for key in value]
        else:
            given_keys.append(name)
    return [_did_you_mean(key, known_keys()) for key in given_keys if key not in _fields()]


def _unknown_environment() -> list[str]:
    given = [_variable(key) for key in _fields()]
    names = [_variable(key) for key in known_keys()]
    variables = [key for key in os.environ if key.startswith(PREFIX) and key != f"{PREFIX}CONFIG"]
    return [_did_you_mean(key, names) for key in variables if key.upper() not in given]


def _variable(key: str) -> str:
    return PREFIX + key.replace(".", "__").upper()


def _did_you_mean(key: str, names: list[str]) -> str:
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    return f"{key} is unknown" + (f"; did you mean {near[0]}?" if near else "")


def _explain(fault: Any) -> str:
    """An error of pydantic as `key: what is wrong`, without the value, which may be a secret."""
    key = ".".join(str(part) for part in fault["loc"])
    return f"{key}: {fault['msg'].removeprefix('Value error, ')}"
