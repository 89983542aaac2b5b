"""Who is an administrator of our portal: proved there, and from then on for an hour by a ticket."""

from bitrix import Bitrix
from portal.install_error import explained
from portal.proof import Proof
from portal.tickets import TicketRefused, Tickets
from settings import Settings
from storage import Store

TICKET_SECONDS = 3_600  # from the proof to the last form; a text is not written in a minute


class Administrators:
    def __init__(self, settings: Settings, store: Store, bitrix: Bitrix, proof: Proof) -> None:
        self._settings = settings
        self._store = store
        self._bitrix = bitrix
        self._proof = proof
        self._tickets = Tickets(store, "administrator", TICKET_SECONDS)

    def proved(self, access_token: str, member_id: str) -> int | None:
        """The id of the administrator whose token it is; None for anybody else of the portal.

        Raises InstallError where the token is not one of our portal's, or it cannot be asked, and
        TooMany.
        """
        with explained(self._settings.bitrix24, self._store):
            self._proof.prove(access_token, member_id)
            is_administrator, user_id = self._bitrix.is_administrator(access_token)
        return user_id if is_administrator else None

    def ticket(self, user_id: int) -> str:
        """What lets this administrator's page act, as long as this installation lasts.

        A page that comes of a form gets no new one, so a proof is never older than TICKET_SECONDS.
        """
        return self._tickets.issue(user_id, *self._installation())

    def of_ticket(self, ticket: str) -> int:
        """The id of the administrator who got a ticket; raises TicketRefused."""
        user_id, *installation = self._tickets.read(ticket) or [0]
        if installation != self._installation():
            raise TicketRefused
        return int(user_id)

    def _installation(self) -> list[str | float]:
        portal = self._store.portal.find()
        if portal is None:
            raise TicketRefused
        return [portal.member_id, portal.installed_at]
