"""What an administrator sees on the application's page, beside the verdict and its reasons."""

import json
from dataclasses import dataclass
from typing import Any

from flask.typing import ResponseReturnValue
from markupsafe import Markup

from addresses import both_forms
from operations import running, test_message
from operations.findings import Finding, Level
from operations.named import ranked
from operations.page_settings import PAGE
from texts import all_texts, text
from web.asking import language, services
from web.page_settings import Typed, settings_fields, source_text
from web.portal_page import portal_page
from web.verdict import Notice, doubted, moment, said, verdict

MOST_SITES = 20  # that tried to show the chat, and are shown


@dataclass(frozen=True)
class ShownLine:
    number: int
    name: str  # "" where the portal does not say
    is_for_new: bool  # new visitors get it
    is_dead: bool  # it takes no messages


@dataclass(frozen=True)
class TriedSite:
    origin: str
    shown: str
    last: Markup
    count: int


def admin_page(
    ticket: str,
    notice: Notice | None = None,
    test: int | None = None,
    typed: Typed | None = None,
    errors: dict[str, str] | None = None,
    status: int = 200,
    finish: str | None = None,
    is_first: bool = False,
) -> ResponseReturnValue:
    """The page with a ticket for its buttons.

    `typed` has what could not be kept of the settings' form, `errors` what is wrong with it, both
    by `chat.key`. `finish` is the script that ends an install, and `is_first` whether the portal
    had not installed us before.
    """
    findings = services().verdict() + running.of_files(services().store, language())
    found = verdict(findings, is_first)
    if notice and notice.section == "verdict" and notice.is_error:  # the portal did not answer
        found = doubted(found)
    settings = services().settings
    page = portal_page(
        found.title,
        [],
        found.tone,
        found.is_well,
        template="application.html",
        finish=finish,
        words=all_texts(language())["application"],
        found=found,
        pass_=ticket,
        notice=notice,
        checked=moment_of_check(),
        open_lines=shown_lines(findings),
        connector=settings.connector.name,
        test=shown_test(test),
        chat_url=f"{settings.public_url}/",
        snippet=f'<script async src="{settings.public_url}/static/loader.js"></script>',
        policy=f"script-src {settings.origin}; frame-src {settings.origin}",
        sites=allowed_sites(),
        tried=tried_sites(),
        fields=settings_fields(typed or {}, errors or {}),
        refusals=refusals(),
    )
    return page, status


def moment_of_check() -> Markup | None:
    """When the portal was last asked."""
    examined = services().store.notes.examined.get()
    return None if examined is None else moment(examined["at"])


def shown_lines(findings: list[Finding]) -> list[ShownLine]:
    """The connected lines, that of new visitors first, by the names that the portal said last."""
    numbers = services().store.portal.active_lines()
    values = [one.values for one in findings if one.check == "lines"]
    names = {one["line"]: str(one["line_name"]) for one in values if "line_name" in one}
    dead = {
        one.values["line"]
        for one in findings
        if one.check == "lines" and one.level > Level.GOOD and "line" in one.values
    }
    first = next((number for number in numbers if number not in dead), (numbers or [0])[0])
    lines = [
        ShownLine(number, named_otherwise(names, number), number == first, number in dead)
        for number in numbers
    ]
    return sorted(lines, key=lambda line: not line.is_for_new)


def named_otherwise(names: dict[Any, str], number: int) -> str:
    """The name of a line, where it is another than its number."""
    name = names.get(number, "")
    return "" if name == str(number) else name


def shown_test(message_id: int | None) -> dict[str, object] | None:
    """What has become of a test message."""
    if message_id is None:
        return None
    state = test_message.state(services().store, message_id)
    key = "gone" if state is None else "answered" if state.answered else state.state
    code = (state and state.error) or ""
    return {
        "id": message_id,
        "is_over": key not in ("stored", "delivered"),
        "is_error": key in ("gone", "refused"),
        "text": said(f"test_{key}", code=code),
    }


def allowed_sites() -> list[tuple[str, str]]:
    """Each site that may show the chat, and where that was set, in words."""
    settings = services().settings
    of_files, source = settings.chat.sites, settings.sources["chat.sites"]
    return [
        (both_forms(site), source_text(source if site in of_files else PAGE))
        for site in services().chat.sites
    ]


def tried_sites() -> list[TriedSite]:
    """Sites that tried to show the chat and may not; those of most visitors first."""
    noted = services().store.notes.tried_sites.get() or {}
    tried = [origin for origin in ranked(noted) if not services().chat.lists(origin)]
    return [
        TriedSite(
            origin, both_forms(origin), moment(noted[origin].last_at), int(noted[origin].count)
        )
        for origin in tried[:MOST_SITES]
    ]


def refusals() -> list[dict[str, object]]:
    """What was turned away, and why; the latest first."""
    found = sorted(services().store.limits.refusals(), key=lambda one: -one.last_at)
    return [
        {"reason": reason_text(one.reason), "count": one.count, "at": moment(one.last_at)}
        for one in found
    ]


def reason_text(noted: str) -> str:
    """The text for a reason that `note_refusal` has noted."""
    place, key, values = json.loads(noted)
    try:
        reason = text(language(), key, **values).rstrip(".")
    except KeyError:  # a host of another release has noted it
        reason = key
    return f"{place}: {reason}" if place else reason
