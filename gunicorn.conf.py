"""How gunicorn serves the application: `gunicorn` in the project's root is enough."""

import gc
import logging
import os
import sys
import threading
import time
from typing import Any

from settings import SettingsError, load_settings

try:
    load_settings()  # a fault is said here in one line, not by every worker with a traceback
except SettingsError as error:
    sys.exit(f"sitechat: {error}")

level = os.environ.get("LOG_LEVEL", "INFO").upper()
if level not in logging.getLevelNamesMapping():
    sys.exit(f"sitechat: LOG_LEVEL is unknown; use {', '.join(logging.getLevelNamesMapping())}")

wsgi_app = "app:create_app()"
bind = "127.0.0.1:8080"
worker_class = "gevent"
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))
worker_connections = 10_000
graceful_timeout = 5  # seconds; gunicorn waits for idle connections, too
limit_request_fields = 50  # headers; gunicorn's time to read them grows with the square
keepalive = 30  # seconds; after a shorter time a closed connection more often meets a new request
control_socket_disable = True
accesslog = None  # addresses of requests may hold tokens: Bitrix24 puts them into queries
loglevel = level.lower()
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"level": level, "handlers": ["stderr"]},
    "loggers": {"urllib3": {"level": "WARNING"}},
}

stop = threading.Event()


def post_worker_init(worker: Any) -> None:
    """Start the jobs of this process; only one of all processes delivers at a time."""
    for name in worker.wsgi.jinja_env.list_templates():  # the first visitor need not wait for it
        worker.wsgi.jinja_env.get_template(name)
    # All that is loaded by now stays: to look through it again takes the collector 20 ms a time.
    gc.collect()
    gc.freeze()
    work = worker.wsgi.extensions["sitechat"].work
    threading.Thread(target=work, args=(stop,), name="delivery", daemon=True).start()
    threading.Thread(target=watch, args=(worker,), daemon=True).start()


def watch(worker: Any) -> None:
    """End streams and jobs as soon as gunicorn stops the worker, which waits for open streams."""
    while worker.alive:
        time.sleep(0.2)
    stop.set()


def worker_exit(server: Any, worker: Any) -> None:
    stop.set()
