"""Asks the portal whether it answers, by a call that carries no message and changes nothing."""

from delivery.context import Context
from rest.errors import BitrixError


def ask(context: Context) -> None:
    """Ask in one of two ways in turn, should a portal have trouble with one of them alone."""
    health = context.health
    health.count_call()
    try:
        if health.outage.unanswered % 2:
            context.bitrix.is_installed()
        else:
            context.bitrix.read_time()
    except BitrixError as error:
        health.note_limit(error)
        health.outage.not_answered(error, context.clock.now())
    else:
        health.outage.answered()
