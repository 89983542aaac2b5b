"""The pages that an administrator or an operator sees inside the portal."""

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
    return portal_page(admin_text(title), lines, level="broken"), fault.status


def wait_page(title: str, error: TooMany) -> ResponseReturnValue:
    note_refusal("reasons.too_many")
    response = make_response(
        install_error_page(title, InstallError("wait", 429, seconds=error.seconds))
    )
    response.headers["Retry-After"] = str(error.seconds)
    return response


def portal_page(
    title: str,
    lines: list[str],
    level: str,
    is_well: bool = False,
    ticket: str = "",
    template: str = "portal_page.html",
    finish: str | None = None,
    **values: object,
) -> str:
    """A page for the portal's slider: a title that is its verdict, and what there is to say.

    `level` is that of the verdict: "good", "attention" or "broken". `is_well`: the page says
    "successfully". With a `ticket` of portal/rename.py the page has the button by which an
    administrator agrees. `finish` is the address of the BX24 script.
    """
    g.nonce = secrets.token_urlsafe(16)
    g.script_origin = " ".join(["'self'", *([origin_of(finish)] if finish else [])])
    return render(
        template,
        lang=language(),
        title=title,
        lines=lines,
        level=level,
        is_well=is_well,
        finish=finish,
        ticket=ticket,
        agree=admin_text("rename_agree"),
        nonce=g.nonce,
        **values,
    )


def admin_text(key: str, **values: object) -> str:
    return text(language(), f"install.{key}", **values)
