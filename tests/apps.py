"""The application in the test's own process: where it keeps things, and its parts."""

from pathlib import Path

from flask import Flask

from services import Services
from settings import StorageSettings


def storage_in(folder: Path) -> StorageSettings:
    return StorageSettings(url=f"sqlite:///{folder}/chats.db", files=f"{folder}/files")


def services_of(app: Flask) -> Services:
    services: Services = app.extensions["sitechat"]
    return services
