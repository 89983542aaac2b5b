"""How gunicorn serves the application: `gunicorn` in the project's root is enough."""

import os
import sys
import threading
import time
from importlib import import_module
from typing import Any

from logs import Summing, WithoutRequests, formatter
from operations.life import tell_start, tell_stop
from operations.listening import why_not
from operations.start import fault, take
from settings import SettingsError
from texts import language_of_system
from web.collecting import look_shortly
from web.ending import watch_over
from web.worker import Log, Worker, raise_descriptor_limit

try:
    start = take()  # a fault is said here in a line, not by every worker
except SettingsError as error:
    sys.exit(f"sitechat: {error}")

settings, level = start.settings, start.process.log_level
limits = raise_descriptor_limit()

wsgi_app = "app:create_app()"  # post_fork gives it the settings
bind = "127.0.0.1:8080"
worker_class = "web.worker.Worker"
workers = start.process.workers
worker_connections = limits.connections  # of each worker
graceful_timeout = 0  # after a HUP the master would hear no other signal; web/ending.py has ours
limit_request_fields = 50  # headers; gunicorn's time to read them grows with the square
keepalive = 30  # seconds; after a shorter time a closed connection more often meets a new request
control_socket_disable = True
accesslog = None  # addresses of requests may hold tokens: Bitrix24 puts them into queries
logger_class = Log
secure_scheme_headers: dict[str, str] = {}  # `public_url` has the scheme; proxies may contradict
forwarded_allow_ips = "*"  # nobody's headers are believed (above and below): no need to ask whose
forwarder_headers = ""  # a visitor's header SCRIPT_NAME or PATH_INFO must not move our addresses
loglevel = level.lower()
log_lines = Summing()
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": lambda: formatter(settings.logs.format)},
    },
    "filters": {"without requests": {"()": WithoutRequests}},
    "handlers": {"stderr": {"()": lambda: log_lines, "formatter": "line"}},
    "root": {"level": level, "handlers": ["stderr"]},
    "loggers": {
        # Its warnings show headers of odd answers, with tracebacks; our client says what they mean.
        "urllib3": {"level": "ERROR"},
        # gunicorn's own lines are about what strangers send, so they are counted, too.
        "gunicorn.error": {
            "level": level,
            "handlers": ["stderr"],
            "filters": ["without requests"],
            "propagate": False,
        },
    },
}

stop = threading.Event()
jobs: list[threading.Thread] = []
# How long the jobs may take to end; one may be in a call of a minute. Where another worker goes on,
# it does so with what it finds in the store: the fewer calls were cut, the better.
JOBS_SECONDS, REPLACED_SECONDS = 0.8, 50.0
TELL_SECONDS = 1.0  # between two looks whether the log has sums to tell


def on_starting(server: Any) -> None:
    """The master begins: once for all reloads."""
    if "GUNICORN_FD" not in os.environ and "LISTEN_FDS" not in os.environ:  # else it has its own
        wrong = why_not(server.cfg.address)
        if wrong is not None:
            sys.exit(f"sitechat: {wrong.told(language_of_system())}")
    Worker.ending = watch_over(server, fault)


def when_ready(server: Any) -> None:
    tell_start(settings, server.num_workers)


def on_reload(server: Any) -> None:
    tell_start(settings, server.num_workers, "begins anew with these settings")


def on_exit(server: Any) -> None:
    tell_stop()


def post_fork(server: Any, worker: Any) -> None:
    """A worker serves with what the master has checked, whatever the files say by now."""
    worker.app.load = lambda: import_module("app").create_app(settings)


def post_worker_init(worker: Any) -> None:
    """Start the jobs of this process; only one of all processes delivers at a time."""
    for name in worker.wsgi.jinja_env.list_templates():  # the first visitor need not wait for it
        worker.wsgi.jinja_env.get_template(name)
    look_shortly()
    services = worker.wsgi.extensions["sitechat"]
    services.live.most_streams = limits.streams
    jobs.append(threading.Thread(target=services.work, args=(stop,), name="delivery", daemon=True))
    jobs[0].start()
    threading.Thread(target=watch, args=(worker,), daemon=True).start()


def watch(worker: Any) -> None:
    """End streams and jobs as soon as gunicorn stops the worker, which then has to end soon."""
    while not worker.told.wait(TELL_SECONDS):
        log_lines.tell()
    end_jobs(worker)


def is_over(worker: Any) -> bool:
    """Whether the whole service ends: no other worker goes on."""
    return bool(worker.ending.is_near) or os.getppid() != worker.ppid


def end_jobs(worker: Any) -> None:
    services = worker.wsgi.extensions["sitechat"]
    if is_over(worker):
        services.store.hurry()
    stop.set()
    services.worker.wake()
    services.live.close()


def worker_exit(server: Any, worker: Any) -> None:
    """Close the store last: then all that was written is in its file, without a log beside it."""
    if not hasattr(worker, "wsgi"):  # it was still loading
        return
    end_jobs(worker)
    began = min(worker.ends_since, time.monotonic())
    while any(job.is_alive() for job in jobs):
        ends = is_over(worker)
        if ends:  # it may have been only replaced when it began to end
            worker.wsgi.extensions["sitechat"].store.hurry()
        if time.monotonic() - began > (JOBS_SECONDS if ends else REPLACED_SECONDS):
            break
        time.sleep(0.02)
    worker.wsgi.extensions["sitechat"].store.close()
