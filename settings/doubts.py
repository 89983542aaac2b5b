"""What may be a mistake in settings that can be used."""

from pathlib import Path
from urllib.parse import urlsplit

from addresses import is_loopback
from settings.keys import Section, Settings, all_fields
from settings.rules import ROOT
from texts import DEFAULT, Wrong


def doubts(settings: Settings, language: str = DEFAULT) -> list[str]:
    """A line each; in English for the log."""
    return [doubt.told(language) for doubt in found_doubts(settings)]


def found_doubts(settings: Settings) -> list[Wrong]:
    """What may be a mistake in settings that can be used."""
    found = [
        Wrong("settings.no_use", given=key)
        for key, field in all_fields().items()
        if field.deprecated and key.partition(".")[2] in _section_of(settings, key).model_fields_set
    ]
    host = urlsplit(settings.public_url).hostname or ""
    if "." not in host and not is_loopback(host):
        found.append(Wrong("settings.no_dot", host=host))
    if settings.bitrix24.portal == settings.public_url:
        found.append(Wrong("settings.same_address"))
    store = Path(settings.storage.url.partition(":///")[2])
    files = Path(settings.storage.files)
    is_file = settings.storage.url.startswith("sqlite:")
    if is_file and store.is_absolute() != files.is_absolute():
        relative, other = ("url", "files") if files.is_absolute() else ("files", "url")
        found.append(Wrong("settings.two_folders", relative=relative, other=other, root=ROOT))
    return found


def _section_of(settings: Settings, key: str) -> Section:
    section: Section = getattr(settings, key.partition(".")[0])
    return section
