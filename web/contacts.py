"""A visitor's e-mail and telephone, as the portal takes them.

An e-mail or a telephone that the portal would refuse is left out: else it would refuse each message
of the chat with it (docs/bitrix24.md, 5.10, 5.11 and 5.21). Pure functions.
"""

import re

from email_validator import EmailNotValidError, validate_email

EMAIL_LIMIT = 254  # letters
# The portal takes letters of ASCII alone, and an ending of at most 20.
PORTAL_EMAIL = re.compile(
    r"[=_.0-9a-z+~'!$&*^`|#%/?{}-]{1,64}@(?:[-0-9a-z]+\.)+[a-z0-9-]{2,20}", re.IGNORECASE
)
PHONE = re.compile(r"\+?[0-9 ()./-]{3,30}")
PHONE_DIGITS = range(5, 16)


def portal_email(given: str) -> str:
    """The address as the portal takes it, its domain in ASCII; "" if it would refuse it."""
    given = given.strip()
    if len(given) > EMAIL_LIMIT:
        return ""
    try:
        found = validate_email(given, check_deliverability=False, strict=True)
    except EmailNotValidError:
        return ""
    email = found.ascii_email or ""
    return email if PORTAL_EMAIL.fullmatch(email) else ""


def portal_phone(given: str) -> str:
    """The telephone number as it was typed; "" if it is none."""
    given = given.strip()
    is_phone = PHONE.fullmatch(given) and sum(map(str.isdigit, given)) in PHONE_DIGITS
    return given if is_phone else ""
