"""How gunicorn serves the application: `gunicorn` in the project's root is enough."""

import gc
import logging
import sys
import threading
import time
from typing import Any

from logs import Summing
from settings import SettingsError, load_settings, system_variables
from texts import language_of_system, text
from web.worker import raise_descriptor_limit

try:
    load_settings()  # a fault is said here in one line, not by every worker with a traceback
    variables = system_variables()  # also those of an .env file
except SettingsError as error:
    sys.exit(f"sitechat: {error}")

level = variables.get("LOG_LEVEL", "INFO").upper()
if level not in logging.getLevelNamesMapping():
    levels = ", ".join(logging.getLevelNamesMapping())
    sys.exit(
        f"sitechat: LOG_LEVEL: {text(language_of_system(), 'settings.one_of', choices=levels)}"
    )
processes = variables.get("WEB_CONCURRENCY", "1")
if not processes.isdecimal():
    sys.exit(f"sitechat: WEB_CONCURRENCY: {text(language_of_system(), 'settings.type_whole')}")

limits = raise_descriptor_limit()

wsgi_app = "app:create_app()"
bind = "127.0.0.1:8080"
worker_class = "web.worker.Worker"
workers = int(processes)
worker_connections = limits.connections  # of each worker
graceful_timeout = 5  # seconds; gunicorn waits for idle connections, too
limit_request_fields = 50  # headers; gunicorn's time to read them grows with the square
keepalive = 30  # seconds; after a shorter time a closed connection more often meets a new request
control_socket_disable = True
accesslog = None  # addresses of requests may hold tokens: Bitrix24 puts them into queries
secure_scheme_headers: dict[str, str] = {}  # `public_url` has the scheme; proxies may contradict
forwarder_headers = ""  # a visitor's header SCRIPT_NAME or PATH_INFO must not move our addresses
loglevel = level.lower()
log_lines = Summing()
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "logs.Line", "fmt": "%(asctime)s %(levelname)s %(name)s: %(message)s"}
    },
    "handlers": {"stderr": {"()": lambda: log_lines, "formatter": "line"}},
    "root": {"level": level, "handlers": ["stderr"]},
    "loggers": {
        # Its warnings show headers of odd answers, with tracebacks; our client says what they mean.
        "urllib3": {"level": "ERROR"},
        # gunicorn's own lines quote what is wrong with a request, so they are counted, too.
        "gunicorn.error": {"level": level, "handlers": ["stderr"], "propagate": False},
    },
}

stop = threading.Event()
jobs: list[threading.Thread] = []
JOBS_SECONDS = 3.0  # the longest wait for the jobs at the end; one may be in a call of a minute


def on_starting(server: Any) -> None:
    """Let `kill -HUP` change nothing while the settings cannot be used: visitors are still served.

    gunicorn would end all processes.
    """
    start_anew = server.handle_hup

    def start_anew_if_usable() -> None:
        try:
            load_settings()
            system_variables()
        except SettingsError as error:
            for line in str(error).splitlines():
                server.log.error("the former settings stay: %s", line)
        else:
            start_anew()

    server.handle_hup = start_anew_if_usable


def post_worker_init(worker: Any) -> None:
    """Start the jobs of this process; only one of all processes delivers at a time."""
    for name in worker.wsgi.jinja_env.list_templates():  # the first visitor need not wait for it
        worker.wsgi.jinja_env.get_template(name)
    # All that is loaded by now stays: to look through it again takes the collector 20 ms a time.
    gc.collect()
    gc.freeze()
    services = worker.wsgi.extensions["sitechat"]
    services.live.most_streams = limits.streams
    jobs.append(threading.Thread(target=services.work, args=(stop,), name="delivery", daemon=True))
    jobs[0].start()
    threading.Thread(target=watch, args=(worker,), daemon=True).start()


def watch(worker: Any) -> None:
    """End streams, jobs and idle connections as soon as gunicorn stops the worker.

    It would wait for them until it is killed, and then the store would not be closed.
    """
    while worker.alive:
        log_lines.tell()
        time.sleep(0.2)
    stop.set()
    worker.close_idle()


def worker_exit(server: Any, worker: Any) -> None:
    """Close the store last: then all that was written is in its file, without a log beside it."""
    stop.set()
    for job in jobs:
        job.join(JOBS_SECONDS)
    worker.wsgi.extensions["sitechat"].store.close()
