"""What the log says of the service's own life: one line each for a start, a reload and a stop.

The master process says it, once for all workers; so are doubts about the settings.
"""

import logging
import time

from logs import facts
from operations.version import version
from settings import Settings, doubts

log = logging.getLogger("sitechat")

_began = time.monotonic()
_said: set[str] = set()  # doubts that the master has said; workers inherit them


def tell_start(settings: Settings, workers: int, event: str = "starts") -> None:
    """With which release and settings the service begins, none of them secret; then the doubts."""
    log.info(
        "sitechat %s",
        event,
        extra=facts(
            version=version(),
            public_url=settings.public_url,
            portal=settings.bitrix24.portal or "none",
            connector=settings.connector.id,
            workers=workers,
            proxies=settings.server.proxies,
            sites=len(settings.chat.sites),
        ),
    )
    _said.clear()
    tell_doubts(settings)
    _said.update(doubts(settings))


def tell_doubts(settings: Settings) -> None:
    """What may be a mistake; a worker does not repeat what its master has said."""
    for doubt in doubts(settings):
        if doubt not in _said:
            log.warning("settings: %s", doubt)


def tell_stop() -> None:
    log.info("sitechat has stopped", extra=facts(after_s=round(time.monotonic() - _began)))
