"""Attack: an operator deletes a visitor's message whose answer was lost, before we look for it.

The deleted message has lost our id (docs/bitrix24.md, 12.7), so it looks as if it had never
arrived, and is sent again: the operator sees once more what they have just deleted.

Prints how many of the messages the portal got twice. Exit status 1 if it got any twice, or if one
that had really not arrived is missing there.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests/
sys.path.insert(0, str(Path(__file__).parents[2]))  # the project

from stage import Stage, wait_until

ROUNDS = 5
WAIT_SECONDS = 30
SEND = "imconnector.send.messages"


def sends(stage: Stage) -> int:
    """How many messages were brought to the portal."""
    return sum(len(call["params"]["MESSAGES"]) for call in stage.calls(SEND))


def attack(stage: Stage) -> int:
    """How often the portal gets the message; it must be once."""
    visitor = stage.visitor()
    chat = visitor.send("first")["chat"]
    wait_until(lambda: len(stage.texts(chat)) == 1, WAIT_SECONDS, "the first message")
    before = sends(stage)
    stage.trouble(drop_answers=1, drop_method=SEND, deny_history=True)
    visitor.send("second")
    wait_until(lambda: len(stage.texts(chat)) == 2, WAIT_SECONDS, "the second message")
    stage.press("delete", message_id=stage.dialog(chat)["messages"][-1]["id"])
    stage.trouble(deny_history=False)
    visitor.send("third")  # is sent only after it is known what became of the second
    wait_until(lambda: "third" in stage.texts(chat), WAIT_SECONDS, "the third message")
    return sends(stage) - before - 1


def lost(stage: Stage) -> bool:
    """Whether a message is lost that never arrived, though an earlier one was deleted."""
    visitor = stage.visitor()
    chat = visitor.send("first")["chat"]
    wait_until(lambda: len(stage.texts(chat)) == 1, WAIT_SECONDS, "the first message")
    stage.press("delete", message_id=stage.dialog(chat)["messages"][0]["id"])
    before = sends(stage)
    stage.trouble(no_session="not stored")
    visitor.send("second")
    wait_until(lambda: sends(stage) > before, WAIT_SECONDS, "the call")
    stage.trouble(no_session="")
    try:
        wait_until(lambda: "second" in stage.texts(chat), WAIT_SECONDS, "the second message")
    except AssertionError:
        return True
    return False


def main() -> int:
    with (
        tempfile.TemporaryDirectory() as folder,
        Stage(Path(folder), SITECHAT_DELIVERY__SETTLE_SECONDS="3") as stage,
    ):
        stage.install()
        stage.trouble(limit=False)
        twice = sum(attack(stage) > 1 for _ in range(ROUNDS))
        is_lost = lost(stage)
    print(f"deleted before we knew that they had arrived: {twice} of {ROUNDS} sent twice")
    print(f"never arrived, behind a deleted one: {int(is_lost)} of 1 lost")
    return 1 if twice or is_lost else 0


if __name__ == "__main__":
    sys.exit(main())
