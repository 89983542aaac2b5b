"""The chats of a person, found by an e-mail in whatever spelling it is given."""

import re
from collections.abc import Iterator
from email.utils import parseaddr
from urllib.parse import urlsplit

from addresses import origin_of, web_address
from operations.page_settings import PageSettings
from portal.contacts import portal_email
from settings import Settings
from storage import Store
from texts import Wrong
from web.identity import customer, normal_email
from web.visitor import chat_id_of

PLAIN = re.compile(r"[a-z0-9._+-]+@[a-z0-9.-]*[a-z0-9]")  # one spelling, but for the case


def chats_with_email(settings: Settings, store: Store, given: str) -> list[str]:
    """The chats whose visitors gave this e-mail, and those of whom their site has signed it for."""
    named = parseaddr(given)[1] or given
    wanted = _normal(named)
    found = [chat_id for chat_id, email in store.people.emails() if _normal(email) == wanted]
    found += _customers_chats(settings, store, {named, named.strip(), wanted, portal_email(named)})
    return list(dict.fromkeys(found))


def _normal(email: str) -> str:
    """The same for all spellings of an e-mail; domains also in ASCII, letters of either case."""
    email = email.strip()
    if PLAIN.fullmatch(email.lower()):
        return email.lower()
    return normal_email(portal_email(email) or email).casefold()


def _customers_chats(settings: Settings, store: Store, spellings: set[str]) -> Iterator[str]:
    """Customers need give no e-mail: the ids of their chats are made of it (`web/identity.py`)."""
    key = store.portal.secret_key()
    spellings |= {normal_email(one) for one in spellings} | {
        spelling for one in spellings for spelling in store.chats.spellings(one.lower())
    }
    for site in _sites(settings, store):
        for spelling in filter(None, spellings):
            first = chat_id_of(site, customer(key, site, spelling))
            for chat_id in dict.fromkeys((first, store.chats.latest_heir(first))):
                if store.chats.find(chat_id) or store.chats.find_open(chat_id):
                    yield chat_id


def _sites(settings: Settings, store: Store) -> set[str]:
    """Where customers may have logged in, also on subdomains that the settings do not name."""
    sites = {settings.origin, *PageSettings(settings, store).chat.sites}
    for page in store.people.pages():
        try:
            url = urlsplit(page)
            sites.add(origin_of(web_address(f"{url.scheme}://{url.netloc}")))
        except (ValueError, Wrong):
            continue
    return sites
