"""All REST methods by their names, and the scope that each needs."""

from .application_methods import ApplicationMethods
from .caller import Method
from .connector_methods import ConnectorMethods
from .dialog_actions import DialogActions
from .dialogs import Dialogs
from .history import History
from .incoming import Incoming
from .message_methods import MessageMethods
from .portal import Portal, RestError

# The first part of a method's name, and the scopes of which one is enough.
SCOPES = {
    "imconnector": {"imopenlines"},
    "imopenlines": {"imopenlines"},
    "im": {"im"},
    "user": {"user", "user_brief", "user_basic"},
}


class Methods:
    def __init__(
        self,
        portal: Portal,
        dialogs: Dialogs,
        actions: DialogActions,
        incoming: Incoming,
        history: History,
    ) -> None:
        messages = MessageMethods(portal, dialogs, actions, incoming, history)
        self._table = (
            ApplicationMethods(portal).table | ConnectorMethods(portal).table | messages.table
        )

    def find(self, name: str, scope: str) -> Method:
        """The method, for a token with this scope (scopes are divided by commas)."""
        method = self._table.get(name)
        if method is None:
            raise RestError("ERROR_METHOD_NOT_FOUND", "Method not found!", 404)
        sufficient = SCOPES.get(name.partition(".")[0])
        if sufficient and sufficient.isdisjoint(scope.split(",")):
            raise RestError(
                "insufficient_scope",
                "The request requires higher privileges than provided by the access token",
                403,
            )
        return method
