"""What is wrong with the settings, in the words of whoever has to mend them."""

from collections.abc import Sequence
from dataclasses import dataclass

from texts import Wrong, language_of_system


@dataclass(frozen=True)
class Fault:
    """One mistake: the key or the file, what is wrong with it, and where it stands."""

    key: str  # "chat.title"; or the path of a file that cannot be read
    why: Wrong
    place: Wrong | None = None  # "config.toml, line 3"

    def told(self, language: str) -> str:
        """One line; never with the value, which may be a secret."""
        named = self.why.key.startswith("settings.unknown")  # begins with the key itself
        why = self.why.told(language)
        place = f" ({self.place.told(language)})" if self.place else ""
        return f"{why}{place}" if named else f"{self.key}: {why}{place}"


class SettingsError(Exception):
    """The settings cannot be used; the text names the key and the cure, never a secret."""

    def __init__(self, faults: Sequence[Fault], language: str | None = None) -> None:
        """`language` is that of the text; without one it is that of the environment."""
        self.faults = list(faults)
        super().__init__("\n".join(self.told(language or language_of_system())))

    def told(self, language: str) -> list[str]:
        """One line a fault."""
        return [fault.told(language) for fault in self.faults]
