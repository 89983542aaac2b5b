"""Answers to requests that fail: the reason, in the language and form that the asker can read."""

import logging
from contextlib import suppress

from flask import Flask, Response, current_app, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from logs import of_kind
from portal.forms import BadRequest, Form
from rates import TooOften
from store.database import DiskFull, StoreUnavailable
from store.records import TooMany
from texts import text
from web.asking import Problem, language, note_refusal, posted_form, services, wants_page
from web.bodies import BROKEN_BODY
from web.page import PLAIN_FORMS, chat_page
from web.uploads import fields_of

log = logging.getLogger(__name__)


def add_explanations(app: Flask) -> None:
    """Let every error of a request be explained."""
    app.register_error_handler(Problem, explain)
    app.register_error_handler(BadRequest, explain_bad_request)
    app.register_error_handler(StoreUnavailable, explain_store)
    app.register_error_handler(TooMany, explain_too_many)
    app.register_error_handler(HTTPException, explain_http)
    for error in BROKEN_BODY:
        app.register_error_handler(error, explain_broken_body)


def explain(problem: Problem) -> ResponseReturnValue:
    """Say what is wrong: to our script as JSON, to a plain form as the page, else as text."""
    answer = current_app.make_response(explanation(problem))
    if problem.status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    if "seconds" in problem.values:
        answer.headers["Retry-After"] = str(problem.values["seconds"])
    return answer


def explanation(problem: Problem) -> ResponseReturnValue:
    description = text(language(), problem.key, **problem.values)
    code = problem.key.removeprefix("errors.").upper()
    if request.path != "/ajax":
        return Response(description, problem.status, mimetype="text/plain")
    form = form_of(problem)
    with suppress(StoreUnavailable):
        if wants_page() and form.get("type") in PLAIN_FORMS:
            return page_with(description, problem.status, form), problem.status
    result = {"error": code, "error_description": description}
    return {"chat": None, "post": form, "result": result}, problem.status


def page_with(description: str, status: int, form: Form) -> bytes:
    """The chat page that says what is wrong; without the conversation for whoever asks too often.

    A visitor reads it by `GET /` again, as soon as the limits allow.
    """
    fields = description, str(form.get("message", "")), str(form.get("name", ""))
    if status != 429:
        with suppress(TooOften):
            return chat_page(*fields)
    return chat_page(*fields, with_history=False)


def form_of(problem: Problem) -> Form:
    """The posted fields, or those that had come when reading them failed."""
    if problem.key == "errors.file_large" and not fields_of(request):
        return {"type": "upload_file"}  # such a body was not read
    try:
        return posted_form()
    except (BadRequest, Problem, HTTPException, StoreUnavailable, TooMany, *BROKEN_BODY):
        with suppress(BadRequest):
            return fields_of(request)
        return {}


def explain_bad_request(error: BadRequest) -> ResponseReturnValue:
    if request.endpoint in ("handler", "install"):
        note_refusal(f"reasons.{error.reason}", **error.values)
    return explain(Problem("errors.bad_request", error.status, why=error.explanation(language())))


def explain_broken_body(_: Exception) -> ResponseReturnValue:
    why = text(language(), "reasons.broken_body")
    problem = Problem("errors.bad_request", 400, why=why)
    answer = current_app.make_response(explain(problem))
    answer.headers["Connection"] = "close"  # nobody knows where the next request would begin
    return answer


def explain_store(error: StoreUnavailable) -> ResponseReturnValue:
    log.error("the store cannot be used: %s", error, extra=of_kind("store"))
    services().pulse.doubt()
    key = "errors.disk_full" if isinstance(error, DiskFull) else "errors.store"
    answer = current_app.make_response(explain(Problem(key, 503)))
    answer.headers["Retry-After"] = "5"
    return answer


def explain_too_many(error: TooMany) -> ResponseReturnValue:
    note_refusal("reasons.too_many")
    key = "errors.too_often" if isinstance(error, TooOften) else "errors.too_many"
    return explain(Problem(key, 429, **vars(error)))


def explain_http(error: HTTPException) -> ResponseReturnValue:
    keys = {
        404: "not_found",
        405: "method",
        408: "request_timeout",
        413: "too_large",
        500: "server",
    }
    status = error.code or 500
    if status < 400 or status not in keys:
        return error
    answer = current_app.make_response(
        explain(Problem(f"errors.{keys[status]}", status, method=request.method))
    )
    if status == 405:
        answer.headers["Allow"] = ", ".join(getattr(error, "valid_methods", None) or ["POST"])
    return answer
