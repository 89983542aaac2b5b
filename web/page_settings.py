"""The form in which an administrator sets the chat's texts, look, language, sites and consent.

What a file or the environment says counts more than this page, so such a value is shown with its
source and cannot be changed here. Sites of both are added up.
"""

from dataclasses import dataclass, replace

from portal.forms import Form, text_of
from settings import SettingsError
from texts import all_texts
from web.asking import language, services
from web.verdict import said

TEXTS = ("title", "greeting", "accent", "consent", "consent_link")
KEYS = ("title", "greeting", "language", "accent", "consent", "consent_link", "sites")
AREAS = frozenset({"greeting", "consent", "sites"})  # of several lines
ON_PAGE = frozenset({"page", "default"})  # the sources of values that the page may change


@dataclass(frozen=True)
class Notice:
    """What a button has done, told in the section of the page that the button is in."""

    section: str  # "verdict", "sites", "test" or "settings"
    text: str
    is_error: bool = False


@dataclass(frozen=True)
class Field:
    key: str
    label: str
    hint: str
    value: str
    source: str  # in words
    is_fixed: bool  # a file or the environment says it
    is_area: bool
    choices: tuple[tuple[str, str], ...] = ()  # value and text


def settings_fields(typed: dict[str, str] | None) -> list[Field]:
    """The form's fields with the values that count now, or with those `typed` and not kept."""
    fields = [_field(key) for key in KEYS]
    if typed is None:
        return fields
    return [
        field if field.is_fixed else replace(field, value=typed.get(field.key, field.value))
        for field in fields
    ]


def _field(key: str) -> Field:
    chat, words = services().chat, all_texts(language())["application"]
    source = services().sources().get(f"chat.{key}", "default")
    value = getattr(chat, key)
    if key == "sites":
        value = "\n".join(services().page_sites())
    choices = [("auto", words["language_auto"]), ("en", "English"), ("ru", "Русский")]
    return Field(
        key=key,
        label=words[f"field_{key}"],
        hint=words[f"hint_{key}"],
        value=str(value),
        source=source_text(source),
        is_fixed=source not in ON_PAGE and key != "sites",
        is_area=key in AREAS,
        choices=tuple(choices) if key == "language" else (),
    )


def source_text(source: str) -> str:
    """Where a value comes from, in words."""
    known = all_texts(language())["application"]
    key = f"source_{source}"
    return known[key] if key in known else said("source_file", name=source)


def typed_values(form: Form) -> dict[str, str]:
    """What was typed into the form, as it came."""
    return {key: text_of(form, key) for key in KEYS if key in form}


def save_settings(typed: dict[str, str]) -> Notice:
    """Keep what was typed; all of it or, with an explanation, nothing."""
    values: dict[str, object] = {
        key: " ".join(value.split("\r\n")) if key not in AREAS else value.replace("\r\n", "\n")
        for key, value in typed.items()
    }
    if "sites" in values:
        values["sites"] = [line for line in str(values["sites"]).split() if line]
    try:
        services().save_page_settings(values)
    except SettingsError as error:
        return Notice("settings", str(error), is_error=True)
    return Notice("settings", said("settings_saved"))
