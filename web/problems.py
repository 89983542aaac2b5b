"""Answers to requests that fail: the reason, in the language and form that the asker can read."""

import logging

from flask import Flask, Response, current_app, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from portal.forms import BadRequest
from rates import TooOften
from store.database import StoreUnavailable
from store.records import TooMany
from texts import text
from web.asking import Problem, language, note_refusal, posted_form
from web.page import PLAIN_FORMS, chat_page, wants_page

log = logging.getLogger(__name__)


def add_explanations(app: Flask) -> None:
    """Let every error of a request be explained."""
    app.register_error_handler(Problem, explain)
    app.register_error_handler(BadRequest, explain_bad_request)
    app.register_error_handler(StoreUnavailable, explain_store)
    app.register_error_handler(TooMany, explain_too_many)
    app.register_error_handler(HTTPException, explain_http)


def explain(problem: Problem) -> ResponseReturnValue:
    """Say what is wrong: to our script as JSON, to a plain form as the page, else as text."""
    description = text(language(), problem.key, **problem.values)
    code = problem.key.removeprefix("errors.").upper()
    if request.path != "/ajax":
        return Response(description, problem.status, mimetype="text/plain")
    try:
        too_large = problem.key == "errors.file_large"  # such a body cannot be read
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
    return explain(Problem("errors.bad_request", error.status, why=error.explanation(language())))


def explain_store(error: StoreUnavailable) -> ResponseReturnValue:
    log.error("the store cannot be used: %s", error)
    answer = current_app.make_response(explain(Problem("errors.store", 503)))
    answer.headers["Retry-After"] = "5"
    return answer


def explain_too_many(error: TooMany) -> ResponseReturnValue:
    note_refusal("reasons.too_many")
    key = "errors.too_often" if isinstance(error, TooOften) else "errors.too_many"
    answer = current_app.make_response(explain(Problem(key, 429, **vars(error))))
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
