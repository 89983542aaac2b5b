"""The answer to a token renewal is lost: does delivery stop, and who is told how to mend it?

    python tests/attacks/attack_renewal.py

Three losses, each with a message that waits: the old tokens live on at the OAuth server; they are
dead; our process dies between the server's answer and its own note. Prints how long the message
waited, when an administrator could read the cure on the application's page in Bitrix24, and how
long it took after a reinstall. Broken is the promise if living tokens are not tried again, if a
dead pair is not told as RENEWAL_LOST within 10 s, or if the message does not go on by itself after
the reinstall.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from stage import ROOT, Stage, Visitor

from bbcode import RENDERER
from storage import Store

LONGEST_SECONDS = 10.0
PATIENCE_SECONDS = 30.0


def seconds_until(look: Callable[[], object]) -> float | None:
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE_SECONDS:
        if look():
            return time.monotonic() - began
        time.sleep(0.05)
    return None


def fault(stage: Stage) -> str:
    found = Store(f"sqlite:///{stage.folder}/chats/chats.db", ROOT, RENDERER).notes.fault.get()
    return found.code if found else ""


def lose(stage: Stage, old_tokens_live: bool, dies: bool) -> tuple[Visitor, str]:
    """Let a message need new tokens, whose answer is lost."""
    visitor = stage.visitor()
    chat = str(visitor.send("before")["chat"])
    seconds_until(lambda: "before" in stage.texts(chat))
    stage.trouble(expire_tokens=True, old_tokens_live=old_tokens_live)
    if dies:
        stage.trouble(slow_method="oauth", slow_seconds=3)
        renewals = stage.counts()["oauth"]
        visitor.send("after")
        seconds_until(lambda: stage.counts()["oauth"] > renewals)
        time.sleep(0.5)  # the old pair is dead, and the answer is on its way
        stage.kill()
        stage.trouble(slow_method="", slow_seconds=0)
        stage.start()
    else:
        stage.trouble(drop_answers=1, drop_method="oauth")
        visitor.send("after")
    return visitor, chat


def attack(name: str, old_tokens_live: bool, dies: bool = False) -> bool:
    """One loss; whether the promise was kept."""
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder)) as stage:
        stage.install()
        _, chat = lose(stage, old_tokens_live, dies)
        if old_tokens_live:
            waited = seconds_until(lambda: "after" in stage.texts(chat))
            print(f"{name}: delivered after {_shown(waited)}, no administrator needed")
            return waited is not None and waited < LONGEST_SECONDS
        told = seconds_until(lambda: "press Reinstall" in stage.admin_page())
        code, errors = fault(stage), stage.log.read_text().count(" ERROR ")
        stage.press("install")
        mended = seconds_until(lambda: "after" in stage.texts(chat))
        print(
            f"{name}: told after {_shown(told)} ({code}, {errors} errors in the log),"
            f" delivered {_shown(mended)} after the reinstall"
        )
        return (
            code == "RENEWAL_LOST"
            and told is not None
            and told < LONGEST_SECONDS
            and mended is not None
            and errors == 1
        )


def _shown(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s"


def main() -> int:
    kept = [
        attack("the answer is lost, the old tokens live", old_tokens_live=True),
        attack("the answer is lost, the old tokens are dead", old_tokens_live=False),
        attack("our process dies before its note", old_tokens_live=False, dies=True),
    ]
    print("held" if all(kept) else "broken")
    return not all(kept)


if __name__ == "__main__":
    sys.exit(main())
