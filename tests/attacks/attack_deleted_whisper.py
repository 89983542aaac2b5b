"""Attack: what operators say among themselves, or take back, becomes visible to the visitor.

An operator's delete is soft (docs/bitrix24.md, 12.7): the message stays in the portal's history
with a notice as its text, and nothing tells any more that it was a whisper. So whispers, notices,
notes and answers are written, edited and deleted, with and without their events, on a newer and an
older build of the portal. Afterwards the visitor may see only the answers that still stand.

Prints, for each build: how many such messages the visitor sees or the portal got a confirmation
of, how many deleted answers are still shown with their text, and how many lost answers were
recovered. Exit status 1 if any message is seen that must not be, or an answer is missing.
"""

import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests/
sys.path.insert(0, str(Path(__file__).parents[2]))  # the project

import requests
from stage import Stage, Visitor, wait_until

WAIT_SECONDS = 20
ARTICLE = re.compile(r'<article class="message ([^"]*)".*?</article>', re.DOTALL)
STANDS = ("The parcel is here", "The lost answer", "The last answer")


def note(stage: Stage, portal_chat: int, text: str) -> int:
    """Write a note for employees, as an application does; returns the portal's message id."""
    token = stage.press("token")["access_token"]
    form = {"DIALOG_ID": f"chat{portal_chat}", "MESSAGE": text, "SYSTEM": "Y", "auth": token}
    answer = requests.post(f"{stage.portal}/rest/im.message.add", data=form, timeout=10).json()
    return int(answer["result"])


def write_all(stage: Stage, chat: str) -> tuple[set[int], int]:
    """Everything that an operator may do; the ids that nobody may see, and of a deleted answer."""

    def press(button: str, text: str, **more: object) -> int:
        answer = stage.press(button, external_chat_id=chat, text=text, **more)
        return int(answer["message_id"])

    stands = press("answer", STANDS[0])
    taken_back = press("answer", "Taken back")
    stage.wait_for_confirmation(stands)
    stage.wait_for_confirmation(taken_back)
    portal_chat = int(stage.dialog(chat)["chat_id"])
    # Meanwhile nobody reads the history: a lost answer may be shown until it is deleted.
    stage.trouble(lose_events=True, deny_history=True)
    stage.press("delete", message_id=taken_back)
    hidden = [press("whisper", f"whisper {number}") for number in range(4)]
    hidden += [press("notice", f"notice {number}", user_id=18) for number in range(2)]
    hidden += [note(stage, portal_chat, f"note {number}") for number in range(2)]
    hidden += [press("answer", f"lost answer {number}") for number in range(2)]
    hidden.append(int(stage.press("vote", external_chat_id=chat)["message_id"]))
    for message_id in hidden[1::2]:
        stage.press("edit", message_id=message_id, text="edited")
    for message_id in (*hidden[1:4], *hidden[4:]):
        stage.press("delete", message_id=message_id)
    press("answer", STANDS[1])
    stage.trouble(lose_events=False, deny_history=False)
    press("answer", STANDS[2])
    return set(hidden), taken_back


def attack(stage: Stage, old_build: bool) -> bool:
    """Whether the promise holds."""
    stage.trouble(old_build=old_build)
    visitor = stage.visitor()
    chat = visitor.send("Where is my parcel?")["chat"]
    wait_until(lambda: bool(stage.dialog(chat)), WAIT_SECONDS, "the dialog")
    hidden, _ = write_all(stage, chat)
    look_twice(stage, visitor)
    shown = [match for match in ARTICLE.finditer(visitor.history()) if "visitor" not in match[1]]
    bodies = [match[0] for match in shown if "deleted" not in match[1].split()]
    leaked = [body for body in bodies if not any(text in body for text in STANDS)]
    marks = len(shown) - len(bodies)
    still = sum("Taken back" in body for body in leaked)
    recovered = sum(any(text in body for body in bodies) for text in STANDS)
    confirmed = {
        int(item["im"]["message_id"])
        for call in stage.calls("imconnector.send.status.delivery")
        for item in call["params"]["MESSAGES"]
    }
    build = "older build" if old_build else "newer build"
    print(
        f"{build}: {len(leaked) - still} of {len(hidden)} hidden or deleted messages seen,"
        f" {len(hidden & confirmed)} confirmed; deleted answers still shown: {still} of 1;"
        f" standing answers shown: {recovered} of {len(STANDS)}; marked as deleted: {marks}"
    )
    return not leaked and not hidden & confirmed and recovered == len(STANDS) and marks == 1


def look_twice(stage: Stage, visitor: Visitor) -> None:
    """Wait until all histories were read, and read again."""
    try:
        wait_until(lambda: STANDS[1] in visitor.history(), WAIT_SECONDS, "the lost answer")
    except AssertionError:
        return
    reads = len(stage.calls("batch"))
    wait_until(lambda: len(stage.calls("batch")) > reads + 1, WAIT_SECONDS, "two more looks")
    time.sleep(0.5)


def main() -> int:
    with (
        tempfile.TemporaryDirectory() as folder,
        Stage(Path(folder), SITECHAT_RECOVERY__SECONDS="0.5") as stage,
    ):
        stage.install()
        holds = [attack(stage, old_build) for old_build in (False, True)]
    return 0 if all(holds) else 1


if __name__ == "__main__":
    sys.exit(main())
