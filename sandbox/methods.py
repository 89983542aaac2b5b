"""All REST methods by their names, and the scope that each needs."""

from .application_methods import ApplicationMethods
from .caller import Method
from .connector_methods import ConnectorMethods
from .dialog_actions import DialogActions
from .dialogs import Dialogs
from .files import Disk
from .history import History
from .incoming import Incoming
from .line_methods import LineMethods
from .message_methods import MessageMethods
from .options import RestError
from .people_methods import PeopleMethods
from .portal import Portal

# The first part of a method's name, and the scopes of which one is enough.
SCOPES = {
    "imconnector": {"imopenlines"},
    "imopenlines": {"imopenlines"},
    "im": {"im"},
    "user": {"user", "user_brief", "user_basic"},
    "disk": {"disk"},
}


class Methods:
    def __init__(
        self,
        portal: Portal,
        dialogs: Dialogs,
        actions: DialogActions,
        incoming: Incoming,
        history: History,
        disk: Disk,
    ) -> None:
        self._table = (
            ApplicationMethods(portal, disk).table
            | PeopleMethods(portal).table
            | ConnectorMethods(portal).table
            | LineMethods(portal).table
            | MessageMethods(portal, dialogs, actions, incoming, history).table
        )

    def find(self, name: str, scope: set[str]) -> Method:
        """The method, for a token with this scope."""
        method = self._table.get(name)
        if method is None:
            raise RestError("ERROR_METHOD_NOT_FOUND", "Method not found!", 404)
        sufficient = SCOPES.get(name.partition(".")[0])
        if sufficient and sufficient.isdisjoint(scope):
            raise RestError(
                "insufficient_scope",
                "The request requires higher privileges than provided by the access token",
                403,
            )
        return method
