"""The page that an administrator or an operator sees inside the portal."""

import secrets

from flask import g, make_response, request
from flask import render_template as render
from flask.typing import ResponseReturnValue

from addresses import origin_of
from portal.install_error import InstallError
from store.records import TooMany
from texts import text
from web.asking import language, note_refusal


def install_error_page(title: str, fault: InstallError) -> ResponseReturnValue:
    # The portal that frames this page may be another than that of the settings, and its admin must
    # see why. Anybody may frame the page, because it does nothing.
    g.frame_ancestors = "*"
    if fault.status in (400, 403):
        note_refusal(f"install.{fault.key}", **fault.values)
    lines = [admin_text(fault.key, **fault.values)]
    if request.path == "/install" and fault.key != "form":
        lines.append(admin_text("try_again"))
    return portal_page(title, lines, done=False), fault.status


def wait_page(title: str, error: TooMany) -> ResponseReturnValue:
    note_refusal("reasons.too_many")
    response = make_response(
        install_error_page(title, InstallError("wait", 429, seconds=error.seconds))
    )
    response.headers["Retry-After"] = str(error.seconds)
    return response


def portal_page(
    title: str, lines: list[str], done: bool, finish: str | None = None, ticket: str = ""
) -> str:
    """A small page for the portal's slider.

    `finish` is the address of the BX24 script. With a `ticket` of portal/rename.py the page has the
    button by which an administrator agrees.
    """
    g.nonce = secrets.token_urlsafe(16)
    g.script_origin = origin_of(finish) if finish else None
    return render(
        "portal_page.html",
        lang=language(),
        title=admin_text(title),
        lines=lines,
        done=done,
        finish=finish,
        ticket=ticket,
        agree=admin_text("rename_agree"),
        nonce=g.nonce,
    )


def admin_text(key: str, **values: object) -> str:
    return text(language(), f"install.{key}", **values)
