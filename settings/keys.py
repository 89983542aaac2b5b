"""Every key of the settings, with its type and its default, in one frozen and checked object.

Whoever makes one by hand gets a ValidationError; `load_settings` explains what is wrong in plain
words. Knows nothing of the files in which settings stand.
"""

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from addresses import domain_of, is_listed, origin_of
from settings.rules import (
    MOST_DAYS,
    CaFile,
    ClientId,
    ClientSecret,
    Colour,
    ConnectorId,
    Count,
    Duration,
    Endings,
    FilesFolder,
    GivenUrl,
    LongSecret,
    OAuthServer,
    Page,
    PortalUrl,
    PublicUrl,
    Sites,
    StoreUrl,
    Text,
    Title,
    Token,
    WebUrl,
    Whole,
)

PREFIX = "SITECHAT_"


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Bitrix24Settings(Section):
    portal: PortalUrl = ""
    client_id: ClientId = ""
    client_secret: ClientSecret = SecretStr("")
    oauth_server: OAuthServer = "https://oauth.bitrix24.tech"
    ca_file: CaFile = ""  # besides the well-known authorities
    js_api: GivenUrl = "https://api.bitrix24.com/api/v1"

    @property
    def complete(self) -> bool:
        """Whether the three settings that only the company can know are given."""
        return bool(self.portal and self.client_id and self.client_secret.get_secret_value())


class ConnectorSettings(Section):
    id: ConnectorId = "example_connector_1"
    name: Text = Field(default="ExampleSiteChat", min_length=1, max_length=255)
    widget_name: Text = "ExampleSiteChatWidget"
    widget_uri: WebUrl | None = None  # None: the chat page; "": connector.data.set is skipped


class ChatSettings(Section):
    title: Title = Field(default="", max_length=100)  # "": that of the visitor's language
    greeting: str = Field(default="", max_length=1000)  # "": the welcome of the visitor's language
    language: Literal["auto", "en", "ru"] = "auto"
    sites: Sites = ()
    share_visitors: bool = False  # between the sites of one domain that has an entry with "*"
    identity_secret: LongSecret = SecretStr("")
    # Characters; the portal cuts a longer text.
    message_limit: Count = Field(default=20_000, le=20_000)
    session_days: Count = Field(default=365, le=MOST_DAYS)
    keep_days: Whole = Field(default=0, ge=0, le=MOST_DAYS)  # messages and files; 0: for ever
    accent: Colour = ""
    consent: Text = Field(default="", max_length=2000)
    consent_link: Page = ""

    def lists(self, origin: str) -> bool:
        """Whether the pages of this origin, as browsers send it, may embed the chat."""
        return is_listed(origin, self.sites)

    def domain_of(self, origin: str) -> str:
        """The entry for all subdomains that the origin of an embedding site falls under, or ""."""
        return domain_of(origin, self.sites)


class FilesSettings(Section):
    enabled: bool = True
    megabytes: Count = Field(default=20, le=1000)  # of one file
    types: Endings = (
        *("png", "jpg", "jpeg", "gif", "webp", "heic", "heif", "avif", "pdf", "txt", "csv", "rtf"),
        *("doc", "docx", "odt", "xls", "xlsx", "ods", "ppt", "pptx", "odp"),
        *("zip", "mp3", "m4a", "ogg", "wav", "mp4", "mov", "webm"),
    )

    @property
    def largest_bytes(self) -> int:
        return self.megabytes << 20


class DeliverySettings(Section):
    retry_seconds: Duration = 1.0  # after the first failure; doubles each time
    retry_limit_seconds: Duration = 60.0  # the longest pause
    timeout_seconds: Duration = 70.0  # of a send; the portal itself ends a call after 60
    settle_seconds: Duration = 10.0  # after a lost answer the portal may still store so long
    unconfirmed: Literal["repeat", "keep"] = "repeat"  # if nobody can tell whether it arrived


class RecoverySettings(Section):
    seconds: Duration = 180.0  # between two recoveries of answers whose events were lost
    active_hours: Duration = 168.0  # a recovery reads chats until they are quiet for so long


class LimitsSettings(Section):
    visitor_per_minute: Count = 300  # messages
    address_per_minute: Count = 15_000  # messages of all visitors behind one address
    address_chats_per_minute: Count = 300  # new conversations from one address
    address_waiting: Count = 2_000  # messages of one address that wait for delivery
    address_streams: Count = 1_000  # open pages behind one address, in each process
    installs_per_minute: Count = 60  # installs and connects from one address
    failed_proofs_per_minute: Count = 30  # unknown tokens, from all addresses together
    visits_per_minute: Any = Field(default=None, deprecated="visits of /install cost nothing now")


class ServerSettings(Section):
    proxies: Whole = Field(default=0, ge=0, le=10)  # how many in front of us add X-Forwarded-For


class OperationsSettings(Section):
    notify: bool = True  # the administrator who installed the chat, of what stops it
    token: Token = SecretStr("")  # who shows it may see numbers and faults; "": nobody


class LogsSettings(Section):
    format: Literal["text", "json"] = "text"


class StorageSettings(Section):
    url: StoreUrl = "sqlite:///chats/chats.db"
    files: FilesFolder = Field(default="chats/files", min_length=1)
    files_in: Literal["folder", "database"] = "folder"  # new ones; those of before stay


class Settings(BaseSettings):
    """All settings; frozen. Read them with `load_settings`, which explains what is wrong."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    public_url: PublicUrl = "http://127.0.0.1:8080"
    bitrix24: Bitrix24Settings = Bitrix24Settings()
    connector: ConnectorSettings = ConnectorSettings()
    chat: ChatSettings = ChatSettings()
    files: FilesSettings = FilesSettings()
    delivery: DeliverySettings = DeliverySettings()
    recovery: RecoverySettings = RecoverySettings()
    limits: LimitsSettings = LimitsSettings()
    server: ServerSettings = ServerSettings()
    operations: OperationsSettings = OperationsSettings()
    logs: LogsSettings = LogsSettings()
    storage: StorageSettings = StorageSettings()

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)  # `layers.py` puts together what files and environment say

    @property
    def sources(self) -> dict[str, str]:
        """Where the value of each key comes from: "environment", a file's name, or "default"."""
        return {key: self._sources.get(key, "default") for key in known_keys()}

    def set_sources(self, sources: dict[str, str]) -> None:
        """Note where the keys come from that do not have their default."""
        self._sources.update(sources)

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


def all_fields() -> dict[str, FieldInfo]:
    """Every key that may be given, also one without a use, which older settings may still have."""
    fields: dict[str, FieldInfo] = {}
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            fields |= {f"{name}.{key}": inner for key, inner in section.model_fields.items()}
        else:
            fields[name] = field
    return fields


def known_keys() -> list[str]:
    """Every key that has a use, as `section.key`, in the order of the classes."""
    return [key for key, field in all_fields().items() if not field.deprecated]


def sections() -> list[str]:
    """The names of the sections."""
    return list(dict.fromkeys(key.partition(".")[0] for key in all_fields() if "." in key))
