"""What the jobs of one worker share: clock, health, quarantine, lines, and who writes outcomes."""

from dataclasses import dataclass

from bitrix import Bitrix
from delivery.clock import Clock
from delivery.health import Health
from delivery.lines import Lines
from delivery.quarantine import Quarantine
from delivery.recorder import Recorder
from settings import Settings
from storage import Store


@dataclass(frozen=True)
class Context:
    settings: Settings
    store: Store
    bitrix: Bitrix
    clock: Clock
    health: Health
    quarantine: Quarantine
    lines: Lines
    recorder: Recorder

    @classmethod
    def of(cls, settings: Settings, store: Store, bitrix: Bitrix) -> "Context":
        clock = Clock()
        health = Health(settings.delivery, store, clock)
        recorder = Recorder(store, clock)
        return cls(settings, store, bitrix, clock, health, Quarantine(), Lines(store), recorder)
