"""Each fault of the portal's alone, and all of them mixed: nothing lost, doubled or disordered.

The cases run side by side, for most of their time is waiting. Each has a stage for itself while it
runs; the faults alone come one after the other on a few stages, and no earlier chat may suffer.
"""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest
import requests
from soak import (
    CONFIRM,
    SEND,
    TROUBLES,
    Mixture,
    Talk,
    assert_equal,
    mend,
    quick_stage,
    side_by_side,
)
from stage import LINE, Stage, wait_until

FELT_SECONDS = 1.0  # how long a fault lasts after all was said in it
MIXED_SECONDS = 10.0
OTHER_LINE = 12
SEED = int(os.environ["SEED"])


@dataclass
class SharedStage:
    """A stage on which one fault follows another, and all chats that were begun there."""

    stage: Stage
    talks: list[Talk] = field(default_factory=list)


free: SimpleQueue[SharedStage] = SimpleQueue()


@contextmanager
def shared_stage(folder: Path) -> Iterator[SharedStage]:
    """A stage that no other fault uses now; one on which a fault did harm is not used again."""
    try:
        shared = free.get_nowait()
    except Empty:
        shared = SharedStage(quick_stage(folder).__enter__())
    try:
        if not shared.talks:
            shared.stage.install()
        yield shared
    except BaseException:
        shared.stage.__exit__()
        raise
    free.put(shared)


def fault_alone(folder: Path, trouble: str) -> None:
    """Two visitors in conversation and one who comes while the fault lasts."""
    with shared_stage(folder) as shared:
        stage = shared.stage
        talks = [Talk(stage, "anna"), Talk(stage, "boris")]
        edited, deleted = [[talk.answered() for talk in talks] for _ in range(2)]
        talks.append(Talk(stage, "vera", greet=False))

        stage.trouble(**TROUBLES[trouble])
        with ThreadPoolExecutor(len(talks)) as pool:
            list(pool.map(lambda talk: [talk.write() for _ in range(3)], talks))
        for _ in range(3):
            for talk in talks[:2]:
                talk.answer()
        if "lose_events" not in TROUBLES[trouble]:
            for message_id in edited:
                stage.press("edit", message_id=message_id, text=f"better {message_id}")
            for message_id in deleted:
                stage.press("delete", message_id=message_id)
        time.sleep(FELT_SECONDS)
        mend(stage)

        shared.talks += talks
        assert_equal(stage, shared.talks)


def all_mixed(folder: Path, workers: int) -> None:
    with quick_stage(folder, workers) as stage:
        stage.install()
        mixture = Mixture(stage, SEED)
        mixture.run(MIXED_SECONDS)
        assert_equal(stage, mixture.talks, 60)
        print(mixture.told())


def one_is_refused(folder: Path) -> None:
    """The portal takes each message but those with one word in them."""
    with quick_stage(folder) as stage:
        stage.install()
        anna, boris = Talk(stage, "anna"), Talk(stage, "boris")

        # Down at first, so that the bad one shares a call with others.
        stage.trouble(down=True, fail_items="brimstone")
        anna.write("before")
        anna.refused = {anna.write("fire and brimstone"), anna.write("brimstone again")}
        anna.write("after")
        for _ in range(4):
            boris.write()
        stage.trouble(down=False)

        wait_until(lambda: "after" in stage.texts(anna.chat_id), 60)
        assert_equal(stage, [anna, boris])
        reasons = [one.reason for one in anna.shown() if one.state == "refused"]
        assert len(reasons) == 2
        assert all("The message could not be saved" in reason for reason in reasons)


def nobody_lets_us_look(folder: Path, unconfirmed: str, copies: set[int], state: str) -> None:
    """An answer is lost and the portal closes its history: what to do is a setting."""
    with quick_stage(folder, SITECHAT_DELIVERY__UNCONFIRMED=unconfirmed) as stage:
        stage.install()
        talk = Talk(stage, "anna")

        stage.trouble(deny_history=True, drop_answers=1, drop_method=SEND)
        doubtful = talk.write()
        last = talk.write()

        wait_until(lambda: stage.texts(talk.chat_id)[-1:] == [last], 60)
        wait_until(lambda: {one.state for one in talk.shown()} <= {"delivered", "refused"}, 60)
        texts = stage.texts(talk.chat_id)
        assert texts.count(doubtful) in copies
        assert texts.count(last) == 1
        assert [one.state for one in talk.shown()] == ["delivered", state, "delivered"]


def a_renewed_token_is_lost(folder: Path) -> None:
    """The OAuth server gave the pair away and we never heard: only an administrator can help."""
    with quick_stage(folder) as stage:
        stage.install()
        talk = Talk(stage, "anna")
        talk.answered()

        stage.trouble(drop_answers=1, drop_method="oauth", expire_tokens=True)
        talk.write()
        talk.answer()
        page = f"{stage.chat}/install"
        wait_until(
            lambda: requests.get(page, timeout=30).status_code >= 400, 20, "word to the admin"
        )
        talk.write()
        mend(stage)
        text = stage.admin_page()
        assert "reinstall the application" in text
        assert "were lost on the way" in text
        stage.install()

        assert_equal(stage, [talk])


def a_line_is_deleted_unheard(folder: Path) -> None:
    """The line is gone and nobody told us: another one takes its chats, and the admin is told."""
    with quick_stage(folder) as stage:
        stage.install()
        talk = Talk(stage, "anna")
        stage.press("connect", line=OTHER_LINE)
        stage.trouble(lose_events=True)
        stage.press("delete-line", line=LINE)
        texts = [talk.write(), talk.write()]

        def there() -> bool:
            dialogs = requests.get(f"{stage.portal}/sandbox/state", timeout=30).json()["dialogs"]
            kept = [one["text"] for one in dialogs[-1]["messages"] if one["author"] == "visitor"]
            return dialogs[-1]["line"] == OTHER_LINE and kept == texts

        wait_until(there, 40, "the messages in the other line's dialog")
        wait_until(lambda: {one.state for one in talk.shown()} == {"delivered"}, 20)
        assert f"Open line {LINE} was deleted in Bitrix24" in stage.admin_page()


def a_chat_moves_to_another_line(folder: Path) -> None:
    """The answer to its first message there is lost: it is looked for there, and found once."""
    with quick_stage(folder) as stage:
        stage.install()
        talk = Talk(stage, "anna")
        stage.press("disconnect", line=LINE)
        stage.press("connect", line=OTHER_LINE)
        wait_until(lambda: stage.counts()["pending_events"] == 0, 60)
        stage.trouble(drop_answers=1, drop_method=SEND)
        doubtful = talk.write()
        last = talk.write()

        wait_until(lambda: talk.shown()[-1].state == "delivered", 60)
        time.sleep(FELT_SECONDS)
        dialogs = stage.state()["dialogs"]
        assert [(one["line"], len(one["messages"])) for one in dialogs] == [
            (LINE, 1),
            (OTHER_LINE, 2),
        ]
        assert [one["text"] for one in dialogs[1]["messages"]] == [doubtful, last]


def an_answer_in_the_line_before_is_lost(folder: Path) -> None:
    """The chat has moved when we look for it: the dialog of its first line is read, too."""
    with quick_stage(folder) as stage:
        stage.install()
        talk = Talk(stage, "anna")
        stage.press("connect", line=OTHER_LINE)
        stage.kill()
        talk.answer()
        wait_until(lambda: stage.counts()["pending_events"] == 0, 60)
        stage.trouble(deny_history=True)
        stage.start()
        stage.press("disconnect", line=LINE)
        wait_until(lambda: stage.counts()["pending_events"] == 0, 60)
        talk.write()
        wait_until(lambda: talk.shown()[-1].state == "delivered", 60)
        assert [one.author for one in talk.shown()] == ["visitor", "visitor"]

        mend(stage)

        wait_until(lambda: "operator" in [one.author for one in talk.shown()], 60, "the answer")
        assert [one["line"] for one in stage.state()["dialogs"]] == [LINE, OTHER_LINE]


def a_doubtful_message_holds_up_nobody(folder: Path) -> None:
    """While one chat's outcome cannot be found out, another chat's messages arrive."""
    with quick_stage(folder, SITECHAT_DELIVERY__SETTLE_SECONDS="8") as stage:
        stage.install()
        anna, boris = Talk(stage, "anna"), Talk(stage, "boris")

        stage.trouble(no_session="not stored")
        anna.write()
        wait_until(lambda: [one["error"] for one in stage.calls(SEND)][2:], 60)
        mend(stage)
        text = boris.write()

        wait_until(lambda: text in stage.texts(boris.chat_id), 4, "the other chat's message")
        assert_equal(stage, [anna, boris])


def a_first_message_is_not_stored(folder: Path) -> None:
    """SUCCESS, but no session and no dialog: a message that is not there was not delivered."""
    with quick_stage(folder) as stage:
        stage.install()
        talk = Talk(stage, "anna", greet=False)

        stage.trouble(no_session="not stored")
        talk.write()
        wait_until(lambda: stage.calls(SEND), 60, "the first try")
        time.sleep(3 * FELT_SECONDS)
        mend(stage)

        assert_equal(stage, [talk])


def confirmations_share_calls(folder: Path) -> None:
    """Each operator's message is confirmed once, however many answers are lost meanwhile."""
    with quick_stage(folder) as stage:
        stage.install()
        talks = [Talk(stage, f"v{number}") for number in range(3)]

        stage.trouble(http_500=True)
        for _ in range(10):
            for talk in talks:
                talk.answer()
        time.sleep(FELT_SECONDS)
        before = len(stage.calls(CONFIRM))
        mend(stage)

        assert_equal(stage, talks)
        assert len(stage.calls(CONFIRM)) - before <= 10


def two_workers_and_a_slow_portal(folder: Path) -> None:
    """One of them sends at a time: the portal never hears two calls with messages at once."""
    with quick_stage(folder, workers=2) as stage:
        stage.install()
        talks = [Talk(stage, f"v{number}") for number in range(4)]
        stage.trouble(item_seconds=0.25)
        for _ in range(3):
            for talk in talks:
                talk.write()

        assert_equal(stage, talks, 60)
        spans = sorted((one["at"], one["at"] + one["duration"]) for one in stage.calls(SEND))
        assert len(spans) > len(talks)
        assert all(end < begin for (_, end), (begin, _) in pairwise(spans))


Play = Callable[[Path], None]
ALONE: dict[str, Play] = {name: partial(fault_alone, trouble=name) for name in TROUBLES}
MIXED: dict[str, Play] = {
    f"{workers} workers, seed {SEED}": partial(all_mixed, workers=workers) for workers in (1, 2)
}
OUTCOMES: dict[str, Play] = {
    "one item refused": one_is_refused,
    "no look, repeat": partial(
        nobody_lets_us_look, unconfirmed="repeat", copies={1, 2}, state="delivered"
    ),
    "no look, keep": partial(nobody_lets_us_look, unconfirmed="keep", copies={1}, state="refused"),
    "a renewed token lost": a_renewed_token_is_lost,
    "a line deleted unheard": a_line_is_deleted_unheard,
    "a chat that moves": a_chat_moves_to_another_line,
    "an answer in the line before": an_answer_in_the_line_before_is_lost,
    "a doubtful message": a_doubtful_message_holds_up_nobody,
    "a first message not stored": a_first_message_is_not_stored,
    "two workers, a slow portal": two_workers_and_a_slow_portal,
    "many confirmations": confirmations_share_calls,
}
PLAYS = MIXED | OUTCOMES | ALONE


@pytest.fixture(scope="module")
def plays(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, "Future[None]"]]:
    """Those that were asked for, begun at once in the order of the tests."""
    calls = [getattr(item, "callspec", None) for item in request.session.items]
    names = {call.params.get("play") for call in calls if call is not None}
    asked = {
        name: partial(play, tmp_path_factory.mktemp("stage"))
        for name, play in PLAYS.items()
        if name in names
    }
    with side_by_side(asked) as futures:
        yield futures
    while not free.empty():
        free.get().stage.__exit__()


@pytest.mark.parametrize("play", MIXED)
def test_all_faults_mixed_lose_double_and_disorder_nothing(
    plays: dict[str, "Future[None]"], play: str
) -> None:
    print(f"SEED={SEED}")
    plays[play].result()


@pytest.mark.parametrize("play", OUTCOMES)
def test_each_message_ends_as_its_fault_demands(
    plays: dict[str, "Future[None]"], play: str
) -> None:
    plays[play].result()


@pytest.mark.parametrize("play", ALONE)
def test_a_fault_alone_loses_doubles_and_disorders_nothing(
    plays: dict[str, "Future[None]"], play: str
) -> None:
    plays[play].result()
