"""The form of a visitor's message, parsed once."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from flask import request

from addresses import readable
from portal import forms
from portal.contacts import portal_email, portal_phone
from portal.forms import Form
from store.records import Chat, VisitorMessage
from visible import is_visible
from web.asking import Problem, services, wants_page
from web.visitor import Visitor, begin_session, current_visitor, remember, turn_away_blocked

NAME_LIMIT = 100  # letters
CHECKS = {"email": portal_email, "phone": portal_phone}
PAGE_LIMIT = 2000  # letters of the address of the page where the visitor writes


@dataclass(frozen=True)
class Submission:
    """What a visitor's form says; its fields have been checked by `of`."""

    message: str
    name: str | None  # None where the form does not say
    email: str
    phone: str
    page: str
    client_id: str | None
    agrees: bool  # to what the settings ask consent for
    left_out: tuple[str, ...] = ()  # the fields that the portal would refuse

    @classmethod
    def of(cls, form: Form, needs_text: bool = True) -> Self:
        """Raises Problem, or BadRequest for a field that is no text."""
        limit = services().chat.message_limit
        message = forms.text_of(form, "message", "").replace("\r\n", "\n")
        if not is_visible(message):
            if needs_text:
                raise Problem("errors.message_missing", 400)
            message = ""
        if len(message) > limit:
            raise Problem("errors.message_long", 400, length=len(message), limit=limit)
        name = forms.text_of(form, "name", "").strip()
        name = name if is_visible(name) else ""
        if len(name) > NAME_LIMIT:
            raise Problem("errors.name_long", 400, limit=NAME_LIMIT)
        page = forms.text_of(form, "page", "") or request.referrer or ""
        client_id = forms.text_of(form, "client_id", "")
        contacts, left_out = contacts_in(form)
        return cls(
            message=message,
            name=name if "name" in form else None,
            **contacts,
            page=page if re.match(r"https?://", page) and len(page) <= PAGE_LIMIT else "",
            client_id=canonical_uuid(client_id) if client_id else None,
            agrees=form.get("consent") == "yes",
            left_out=left_out,
        )

    def chat(self, visitor: Visitor, consent: str | None) -> Chat:
        """The visitor's chat with what this form tells of them; `consent` word for word."""
        now = services().store.now()
        chat = visitor.chat or Chat(
            visitor.chat_id, self.name or "", "", "", "", None, now, now, None, None, None, None
        )
        return replace(
            chat,
            name=chat.name if self.name is None else self.name,
            email=self.email or chat.email,
            phone=self.phone or chat.phone,
            page=self.page or chat.page,
            consent=chat.consent or consent,
            consent_at=chat.consent_at or (now if consent else None),
        )


def read_submission(form: Form, with_file: bool = False) -> VisitorMessage:
    """The message of a form, in the visitor's chat; here a new visitor gets session and chat.

    Its HTML is not made yet, because that is dear: the limits come first (`web/messages.py`).
    """
    submission = Submission.of(form, needs_text=not with_file)
    visitor = current_visitor()
    turn_away_blocked(visitor)
    consent = consent_of(submission, visitor)
    visitor = visitor or begin_session(submission.client_id or "")
    remember(visitor)
    chat = submission.chat(visitor, consent)
    return VisitorMessage(chat, submission.message, client_id=submission.client_id)


def consent_of(submission: Submission, visitor: Visitor | None) -> str | None:
    """What the visitor agrees to with this message; None where there is nothing to ask."""
    settings = services().chat
    if not settings.consent or has_consented(visitor):
        return None
    if not submission.agrees:
        raise Problem("errors.consent_missing", 400)
    return f"{settings.consent} {readable(settings.consent_link)}".strip()


def has_consented(visitor: Visitor | None) -> bool:
    return bool(visitor and visitor.chat and visitor.chat.consent)


def canonical_uuid(value: str) -> str:
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise Problem("errors.client_id", 400) from None


def contacts_in(form: Form) -> tuple[dict[str, str], tuple[str, ...]]:
    """E-mail and telephone, and which of them the portal would refuse: they are left out.

    Who fills in a plain form can correct it, and is told so: raises Problem.
    """
    given = {field: forms.text_of(form, field, "").strip() for field in CHECKS}
    taken = {
        field: given[field] if given[field] and check(given[field]) else ""
        for field, check in CHECKS.items()
    }
    left_out = tuple(field for field in CHECKS if given[field] and not taken[field])
    if left_out and wants_page():
        raise Problem(f"errors.{left_out[0]}", 400)
    return taken, left_out


def message_id(form: Mapping[str, Any], key: str) -> int | None:
    return forms.number_of(dict(form), key) if form.get(key) else None
