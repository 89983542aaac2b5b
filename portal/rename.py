"""A renamed portal: its new address is proved, and kept once an administrator agrees.

The old address alone is not believed, and nothing secret goes to the new one, before the OAuth
server says that the portal which has installed us lives there. An administrator whom the portal
confirms at the new address then gets a ticket, and agrees by handing it back.
"""

import logging

from addresses import both_forms
from bitrix import Bitrix
from portal.install_error import InstallError, explained
from portal.place import portal_address
from portal.proof import same
from portal.tickets import TicketRefused, Tickets
from rest.errors import BitrixError, Cause
from settings import Bitrix24Settings
from storage import Store
from store.records import NewAddress

log = logging.getLogger(__name__)

TICKET_SECONDS = 900  # between reading the page and agreeing


class Rename:
    def __init__(self, settings: Bitrix24Settings, store: Store, bitrix: Bitrix) -> None:
        self._settings = settings
        self._store = store
        self._bitrix = bitrix
        self._tickets = Tickets(store, "rename", TICKET_SECONDS)

    def ticket(self, address: str, access_token: str) -> str:
        """What lets its holder agree to the address, for TICKET_SECONDS.

        Raises InstallError unless the address is our portal's and the token its administrator's.
        """
        with explained(self._settings, self._store, address):
            if not self._is_of_our_portal(address, access_token):
                place = both_forms(address)
                raise InstallError("rename_not_confirmed", 403, address=place)
            if not self._bitrix.is_administrator(access_token, address)[0]:
                raise InstallError("rename_not_admin", 403, address=both_forms(address))
        return self._tickets.issue(*self._present(), address)

    def agree(self, ticket: str) -> str:
        """Call the portal at the ticket's address from now on; returns it. Raises InstallError."""
        try:
            *present, address = self._tickets.read(ticket)
        except (TicketRefused, ValueError):
            raise InstallError("rename_over", 403) from None
        setting, former, agreed_at = self._present()
        if present != [setting, former, agreed_at]:  # it was used, or somebody else was faster
            raise InstallError("rename_over", 403)
        notes = self._store.notes
        notes.agreed_at.set(self._store.now())  # first: from now on no earlier ticket is good
        notes.new_address.set(NewAddress(setting, address))
        notes.fault.clear()
        notes.mended_at.set(self._store.now())
        log.warning("an administrator agreed: the portal %s is called at %s now", former, address)
        return str(address)

    def _is_of_our_portal(self, address: str, access_token: str) -> bool:
        """Whether the OAuth server says that the token is good for us, at our portal, there."""
        portal = self._store.portal.find()
        try:
            home = self._bitrix.home_of_token(access_token)
        except BitrixError as error:
            if error.cause is Cause.TOKEN:
                return False
            raise
        return (
            portal is not None
            and portal.member_id != ""
            and same(home.member_id, portal.member_id)
            and same(home.client_id, self._settings.client_id)
            and home.portal == address
        )

    def _present(self) -> tuple[str, str, float]:
        """What a ticket is made for; the moment of the last agreement makes it good for one."""
        former = portal_address(self._settings, self._store)
        return self._settings.portal, former, self._store.notes.agreed_at.get() or 0.0
