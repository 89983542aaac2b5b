"""The form in which an administrator sets the chat's texts, look, language, sites and consent.

What a file or the environment says counts more than this page, so such a value is shown with its
source and cannot be changed here. Sites of both are added up.
"""

from dataclasses import dataclass

from addresses import readable
from operations.page_settings import LINK, PAGE, PAGE_KEYS, SITES
from portal.forms import Form, text_of
from settings import SettingsError
from texts import all_texts
from web.asking import language, services
from web.verdict import said

DEFAULT = "default"  # the source of a value that nobody has set
ORDER = (
    *("chat.title", "chat.language", "chat.greeting", "chat.accent", "chat.consent"),
    *("chat.consent_link", SITES),
)
LARGE = {"chat.greeting", "chat.consent", SITES}  # texts of several lines
LANGUAGES = {"auto": "", "en": "English", "ru": "Русский"}  # of visitors, in their own words
TYPED_LENGTH = 20_000  # characters of a field that are shown again

Typed = dict[str, str]  # by `chat.key`


@dataclass(frozen=True)
class Field:
    id: str  # the name of the field
    label: str
    hint: str
    value: str
    error: str  # what is wrong with what was typed, or ""
    source: str  # where the value comes from, in words
    is_fixed: bool  # a file or the environment has set it
    is_large: bool
    choices: dict[str, str]  # of a list: value and text


def settings_fields(typed: Typed, errors: dict[str, str]) -> list[Field]:
    """The form's fields with the values that count now, or with those that were `typed`."""
    return [_field(key, typed, errors.get(key, "")) for key in ORDER]


def _field(key: str, typed: Typed, error: str) -> Field:
    words = all_texts(language())["application"]
    source = services().sources().get(key, DEFAULT)
    name = key.removeprefix("chat.")
    if key == SITES:
        sites = services().page_settings.values().get(SITES, [])
        value, is_fixed = "\n".join(map(readable, sites)), False
        source = PAGE if value else DEFAULT  # those of a file stand above, with their source
    else:
        value, is_fixed = str(getattr(services().chat, name)), source not in (PAGE, DEFAULT)
        value = readable(value) if key == LINK else value
    choices = LANGUAGES | {"auto": words["language_auto"]} if key == "chat.language" else {}
    return Field(
        id=name,
        label=words[f"field_{name}"],
        hint=words[f"hint_{name}"],
        value=value if is_fixed else typed.get(key, value),
        error=error,
        source=source_text(source),
        is_fixed=is_fixed,
        is_large=key in LARGE,
        choices=choices,
    )


def source_text(source: str) -> str:
    """Where a value comes from, in words."""
    known = all_texts(language())["application"]
    return known.get(f"source_{source}") or said("source_file", name=source)


def typed_values(form: Form) -> Typed:
    """What was typed into the form; a browser ends lines with CR and LF."""
    names = {key: key.removeprefix("chat.") for key in PAGE_KEYS}
    return {
        key: text_of(form, name, "").replace("\r\n", "\n").strip()[:TYPED_LENGTH]
        for key, name in names.items()
        if name in form
    }


def save_settings(typed: Typed) -> dict[str, str]:
    """Keep what was typed, all of it or nothing. Returns what is wrong, by `chat.key`.

    An empty field has its default again.
    """
    try:
        services().save_page_settings({key: value or None for key, value in typed.items()})
    except SettingsError as error:
        return _by_key(error)
    return {}


def allow_site(origin: str) -> str:
    """Let the site show the chat; returns what is wrong with it, or ""."""
    try:
        services().page_settings.allow_site(origin)
    except SettingsError as error:
        return " ".join(_by_key(error).values())
    return ""


def _by_key(error: SettingsError) -> dict[str, str]:
    """What is wrong, by the field; of a list each part that is wrong is a fault of its own."""
    errors: dict[str, str] = {}
    for fault in error.faults:
        key = ".".join(fault.key.split(".")[:2])
        errors[key] = f"{errors.get(key, '')} {fault.why.told(language())}.".strip()
    return errors
