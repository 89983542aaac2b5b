"""The parts of one portal, put together."""

from .dialog_actions import DialogActions
from .dialogs import Dialogs
from .files import Disk
from .history import History
from .incoming import Incoming
from .methods import Methods
from .oauth import OAuth
from .opening import Opening
from .options import Options
from .portal import Portal
from .rest import Rest


class Sandbox:
    """One portal and all that belongs to it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.portal = Portal(options)
        self.dialogs = Dialogs(self.portal)
        self.dialog_actions = DialogActions(self.portal, self.dialogs)
        self.disk = Disk()
        self.opening = Opening(self.portal)
        self.oauth = OAuth(self.portal)
        incoming = Incoming(self.portal, self.dialogs, self.dialog_actions, self.disk)
        history = History(self.portal, self.dialogs)
        self.rest = Rest(
            self.portal,
            Methods(self.portal, self.dialogs, self.dialog_actions, incoming, history, self.disk),
        )

    def reset(self) -> None:
        with self.portal.lock:
            self.portal.reset()
            self.dialogs.clear()
            self.rest.clear()
