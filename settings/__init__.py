"""The settings: what there is to be set, where it may stand, and what is wrong with it.

Knows nothing of Flask, the store or Bitrix24's methods.
"""

from settings.doubts import doubts, found_doubts
from settings.explain import validated
from settings.faults import Fault, SettingsError
from settings.keys import (
    Bitrix24Settings,
    ChatSettings,
    ConnectorSettings,
    DeliverySettings,
    FilesSettings,
    LimitsSettings,
    LogsSettings,
    OperationsSettings,
    RecoverySettings,
    ServerSettings,
    Settings,
    StorageSettings,
    known_keys,
)
from settings.layers import load_settings, system_variables
from settings.process import Process, load_process
from settings.rules import ROOT

__all__ = [
    "ROOT",
    "Bitrix24Settings",
    "ChatSettings",
    "ConnectorSettings",
    "DeliverySettings",
    "Fault",
    "FilesSettings",
    "LimitsSettings",
    "LogsSettings",
    "OperationsSettings",
    "Process",
    "RecoverySettings",
    "ServerSettings",
    "Settings",
    "SettingsError",
    "StorageSettings",
    "doubts",
    "found_doubts",
    "known_keys",
    "load_process",
    "load_settings",
    "system_variables",
    "validated",
]
