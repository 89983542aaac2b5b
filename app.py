"""The web application: `create_app()` wires the parts; the routes read like sentences.

Every door checks first, stores second and works later. SQL, REST parameters and markup rules live
in the other modules.
"""

import json
import logging
import sys
from datetime import timedelta

import click
from flask import (
    Flask,
    Response,
    current_app,
    request,
)
from flask.cli import FlaskGroup
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from bbcode import RENDERER
from bitrix import Bitrix
from chat import MAX_BODY_BYTES, PLAIN_FORMS, ajax, chat_page, index, wants_page
from delivery.worker import Worker
from files import Files
from handler import handler, install, note_loss
from live import Live
from portal.connector import Connector
from portal.forms import BadRequest
from portal.proof import Proof
from portal.tokens import StoredTokens
from settings import ROOT, Settings, SettingsError, load_settings
from static_files import StaticFiles, release
from storage import Store
from store.database import StoreUnavailable
from store.records import TooMany
from texts import text
from visitor import hand_token
from web import (
    BelowPrefix,
    FileRequest,
    Problem,
    Services,
    Sessions,
    language,
    note_refusal,
    posted_form,
    prepare,
    secure,
    services,
    strict_headers,
)

log = logging.getLogger(__name__)


def create_app(settings: Settings | None = None) -> Flask:
    """The application, complete but for its sender, which the server starts."""
    settings = settings or load_settings()
    store = Store(settings.storage.url, ROOT, RENDERER)
    bitrix = Bitrix(settings.bitrix24, StoredTokens(store), settings.delivery.timeout_seconds)
    proof = Proof(settings, store, bitrix)
    connector = Connector(settings, store, bitrix, proof)
    sender = Worker(settings, store, bitrix, connector)

    app = Flask(__name__, static_folder=None)
    app.request_class = FileRequest
    files = Files(ROOT / settings.storage.files)
    app.extensions["sitechat"] = Services(
        settings, store, bitrix, connector, proof, sender, Live(store), files
    )
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
        PERMANENT_SESSION_LIFETIME=timedelta(days=settings.chat.session_days),
        SESSION_COOKIE_NAME="sitechat",
        SESSION_COOKIE_PATH=f"{settings.prefix}/",
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.public_url.startswith("https:"),
        SESSION_REFRESH_EACH_REQUEST=False,
    )
    app.session_interface = Sessions()
    app.json.ensure_ascii = False  # type: ignore[attr-defined]  # not six bytes a letter
    app.wsgi_app = StaticFiles(app.wsgi_app, strict_headers(settings))  # type: ignore[method-assign]
    if settings.server.proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.server.proxies)  # type: ignore[method-assign]
    app.wsgi_app = BelowPrefix(app.wsgi_app, settings.prefix)  # type: ignore[method-assign]
    static = f"/static/{release().digest}/<path:filename>"
    app.add_url_rule(static, "static", build_only=True)  # for the templates' url_for
    app.add_url_rule("/", view_func=index)
    app.add_url_rule("/ajax", view_func=ajax, methods=["GET", "POST"])
    app.add_url_rule("/handler", view_func=handler, methods=["POST"])
    app.add_url_rule("/install", view_func=install, methods=["GET", "POST"])
    app.before_request(prepare)
    app.after_request(secure)
    app.after_request(hand_token)
    app.after_request(note_loss)
    app.register_error_handler(Problem, explain)
    app.register_error_handler(BadRequest, explain_bad_request)
    app.register_error_handler(StoreUnavailable, explain_store)
    app.register_error_handler(TooMany, explain_too_many)
    app.register_error_handler(HTTPException, explain_http)
    try:
        store.open()
    except StoreUnavailable as error:
        # /install says how to mend it, and every use tries again.
        log.error("the store cannot be used: %s", error)
    return app


# -- what is wrong, said to whoever asks


def explain(problem: Problem) -> ResponseReturnValue:
    """Say what is wrong in the asker's language, as the asker can read it."""
    description = text(language(), problem.key, **problem.values)
    code = problem.key.removeprefix("errors.").upper()
    if request.path != "/ajax":
        return Response(description, problem.status, mimetype="text/plain")
    try:
        too_large = problem.key == "errors.file_large"  # to be read at all
        form = {"type": "upload_file"} if too_large else posted_form()
        if wants_page() and form.get("type") in PLAIN_FORMS:
            page = chat_page(description, str(form.get("message", "")), str(form.get("name", "")))
            return page, problem.status
    except (BadRequest, Problem, HTTPException, StoreUnavailable):
        form = {}
    result = {"error": code, "error_description": description}
    return {"chat": None, "post": form, "result": result}, problem.status


def explain_bad_request(error: BadRequest) -> ResponseReturnValue:
    if request.endpoint in ("handler", "install"):
        note_refusal(f"reasons.{error.reason}", **error.values)
    return explain(Problem("errors.bad_request", error.status, why=error.told(language())))


def explain_store(error: StoreUnavailable) -> ResponseReturnValue:
    log.error("the store cannot be used: %s", error)
    answer = current_app.make_response(explain(Problem("errors.store", 503)))
    answer.headers["Retry-After"] = "5"
    return answer


def explain_too_many(error: TooMany) -> ResponseReturnValue:
    note_refusal("reasons.too_many")
    answer = current_app.make_response(explain(Problem("errors.too_many", 429, **vars(error))))
    answer.headers["Retry-After"] = str(error.seconds)
    return answer


def explain_http(error: HTTPException) -> ResponseReturnValue:
    keys = {404: "not_found", 405: "method", 413: "too_large", 500: "server"}
    status = error.code or 500
    if status < 400 or status not in keys:
        return error
    answer = current_app.make_response(
        explain(Problem(f"errors.{keys[status]}", status, method=request.method))
    )
    if status == 405:
        answer.headers["Allow"] = ", ".join(getattr(error, "valid_methods", None) or ["POST"])
    return answer


# -- the command line


@click.group(cls=FlaskGroup, create_app=create_app)
def commands() -> None:
    """Live chat connected to Bitrix24 Open Lines."""


@commands.command()
def status() -> None:
    """Show what is installed, connected and waiting."""
    store = services().store
    portal = store.portal.find()
    print(json.dumps({
        "portal": services().settings.bitrix24.portal,
        "installed": portal is not None,
        "lines": store.portal.active_lines(),
        "waiting": store.queue.waiting(),
        "fault": store.notes.fault.get(),
    }, indent=2))  # fmt: skip


def cli() -> None:
    """The console command `sitechat`: Flask's own commands and ours."""
    try:
        load_settings()
    except SettingsError as error:
        sys.exit(f"sitechat: {error}")
    commands()
