"""The portal's users as its methods show them: the messenger's fields, and those of user.get."""

from typing import Any

from .portal import User

ANSWERED_AT = "2026-03-02T09:30:00+00:00"

BRIEF = (
    *("ID", "XML_ID", "ACTIVE", "NAME", "LAST_NAME", "SECOND_NAME", "TITLE", "IS_ONLINE"),
    *("TIME_ZONE", "TIME_ZONE_OFFSET", "TIMESTAMP_X", "DATE_REGISTER", "LAST_ACTIVITY_DATE"),
    *("PERSONAL_PROFESSION", "PERSONAL_GENDER", "PERSONAL_BIRTHDAY", "PERSONAL_PHOTO"),
    *("PERSONAL_CITY", "WORK_POSITION", "UF_DEPARTMENT", "UF_EMPLOYMENT_DATE", "USER_TYPE"),
)
CONTACTS = ("EMAIL", "PERSONAL_WWW", "PERSONAL_MOBILE", "WORK_PHONE", "LAST_LOGIN")


def messenger_user(user: User) -> dict[str, Any]:
    """A user in the answers of `im.` methods."""
    return {
        "id": user.id,
        "active": True,
        "name": user.full_name,
        "first_name": user.name,
        "last_name": user.last_name,
        "work_position": user.position,
        "color": "#4ba984",
        "avatar": "",
        "avatar_hr": "",
        "gender": "F" if user.id in (1, 25) else "M",
        "birthday": "",
        "extranet": user.connector,
        "network": False,
        "bot": False,
        "connector": user.connector,
        "external_auth_id": "imconnector" if user.connector else "default",
        "status": "online" if user.online else "offline",
        "idle": False,
        "last_activity_date": ANSWERED_AT,
        "mobile_last_date": False,
        "desktop_last_date": False,
        "absent": False,
        "departments": [] if user.connector else [1],
        "phones": False,
        "website": "",
        "email": "" if user.connector else f"user{user.id}@example.com",
        "bot_data": None,
        "type": "user",
    }


def user_fields(user: User, scope: set[str]) -> dict[str, Any]:
    """What `user.get` shows with this scope; fields that no scope covers are left out."""
    fields: dict[str, Any] = {
        "ID": str(user.id),
        "XML_ID": "",
        "ACTIVE": True,
        "NAME": user.name,
        "LAST_NAME": user.last_name,
        "SECOND_NAME": "",
        "TITLE": "",
        "EMAIL": f"user{user.id}@example.com",
        "LAST_LOGIN": ANSWERED_AT,
        "DATE_REGISTER": "2024-07-15T00:00:00+00:00",
        "TIME_ZONE": "",
        "TIME_ZONE_OFFSET": "",
        "IS_ONLINE": "Y" if user.online else "N",
        "TIMESTAMP_X": {},
        "LAST_ACTIVITY_DATE": {},
        "PERSONAL_GENDER": "",
        "PERSONAL_PROFESSION": "",
        "PERSONAL_WWW": "",
        "PERSONAL_BIRTHDAY": "",
        "PERSONAL_PHOTO": None,
        "PERSONAL_MOBILE": "",
        "PERSONAL_CITY": "",
        "WORK_PHONE": "",
        "WORK_POSITION": user.position,
        "UF_EMPLOYMENT_DATE": "",
        "UF_DEPARTMENT": [1],
        "USER_TYPE": "employee",
    }
    if "user" in scope:
        return fields
    covered = BRIEF + (CONTACTS if "user_basic" in scope else ())
    return {name: fields[name] for name in covered}
