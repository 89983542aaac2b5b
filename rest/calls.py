"""Calls of the REST client: one method at a time, or many in one `batch`.

Each answer is read by whoever asks, or named strange. Knows no method but `batch`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from rest.errors import STRANGE_ANSWER, BitrixError, OutcomeUnknown, error_of_answer
from rest.php import keyed, php_form
from rest.replies import STRANGE
from rest.transport import ANSWER_SECONDS, Transport

COMMANDS_A_BATCH = 50  # the portal refuses what is beyond them (bitrix24.md 4.13)
T = TypeVar("T")


@dataclass(frozen=True)
class Command(Generic[T]):
    """One call of a `batch`; `read` makes something of its result."""

    method: str
    params: dict[str, Any]
    read: Callable[[Any], T]


class Calls:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _call(
        self,
        method: str,
        params: dict[str, Any],
        read: Callable[[Any], T],
        token: str | None = None,
        timeout: float = ANSWER_SECONDS,
    ) -> T:
        """Call with our own token, or with `token`; what `read` makes of the result.

        Raises OutcomeUnknown where `read` finds another shape than the documented one.
        """
        if token is None:
            result = self._transport.call(method, params, timeout)
        else:
            result = self._transport.call_with(method, params, token, timeout)
        return read_result(method, result, read)

    def _batch(self, commands: Sequence[Command[T]]) -> list[T | BitrixError]:
        """Carry out up to COMMANDS_A_BATCH commands in one call.

        A command that failed has its error in place of a result. Raises BitrixError if the call as
        a whole did.
        """
        lines = {
            str(index): f"{command.method}?{urlencode([*php_form(command.params)])}"
            for index, command in enumerate(commands)
        }

        def answers(result: Any) -> list[T | BitrixError]:
            results, errors = (keyed(result[key]) for key in ("result", "result_error"))
            found: list[T | BitrixError] = []
            for index, command in enumerate(commands):
                try:
                    found.append(_part(command, str(index), results, errors))
                except BitrixError as error:
                    found.append(error)
            return found

        return self._call("batch", {"halt": 0, "cmd": lines}, answers)


def _part(command: Command[T], key: str, results: dict[str, Any], errors: dict[str, Any]) -> T:
    """What a command of a batch was answered; raises its error."""

    def read(_: Any) -> T:
        if key not in results:
            raise error_of_answer(errors[key], command.method, 400)
        return command.read(results[key])

    return read_result(command.method, results, read)


def read_result(method: str, result: Any, read: Callable[[Any], T]) -> T:
    """What `read` makes of a result; OutcomeUnknown where it has another shape."""
    try:
        return read(result)
    except STRANGE:
        raise OutcomeUnknown(STRANGE_ANSWER, method) from None
