"""A thousand messages wait for a portal that takes two calls a second."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from soak import SEND, Talk, assert_equal, differences, mend, quick_stage
from stage import wait_until

CHATS = 50
MESSAGES = 20
FEW_CHATS, LONG = 6, 60  # messages of each, before the portal takes nothing and after
BACK_SECONDS = 10.0  # after the portal's return
MESSAGES_A_CALL = 10  # at least, while a backlog stands
LIVELY_SECONDS = 8  # for a message that is written while others are being looked for


def test_a_backlog_is_sent_in_few_calls_within_the_portals_limit(tmp_path: Path) -> None:
    with quick_stage(tmp_path, SITECHAT_RECOVERY__SECONDS="10") as stage:
        stage.install()
        stage.trouble(down=True)
        talks = [Talk(stage, f"v{number}", greet=False) for number in range(CHATS)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda talk: [talk.write() for _ in range(MESSAGES)], talks))
        known = stage.calls()[-1]["n"]

        mend(stage)
        began = time.monotonic()
        texts = CHATS * MESSAGES
        wait_until(lambda: stage.counts()["messages"] >= texts, 60, "all at the portal")
        seconds = time.monotonic() - began

        calls = [call for call in stage.calls() if call["n"] > known]
        sends = [call for call in calls if call["method"] == SEND and call["status"] == 200]
        each = texts / len(sends)
        told = f"{texts} messages of {CHATS} chats: {len(sends)} sends, {each:.1f} messages a call"
        print(f"{told}; {len(calls)} calls in {seconds:.1f} s")
        assert_equal(stage, talks, 20)
        assert {call["error"] for call in stage.calls()} == {""}
        assert stage.counts()["refused"] == 0
        assert each >= MESSAGES_A_CALL


def test_a_lost_answer_to_a_full_call_delays_nobody_for_long(tmp_path: Path) -> None:
    """Fifty messages may or may not have arrived; finding out must not take a call for each."""
    with quick_stage(tmp_path) as stage:
        stage.install()
        talks = [Talk(stage, f"v{number}", greet=False) for number in range(CHATS)]
        other = Talk(stage, "other")
        stage.trouble(query_limit=10_000)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda talk: talk.write(), talks))

        stage.trouble(query_limit=0, drop_answers=1, drop_method=SEND)
        wait_until(lambda: stage.counts()["messages"] > CHATS, 60, "the full call")
        mend(stage)
        text = other.write()

        began = time.monotonic()
        wait_until(lambda: text in stage.texts(other.chat_id), 60, "the message of another chat")
        lively = time.monotonic() - began
        everybody = [*talks, other]
        wait_until(lambda: not differences(stage, everybody), 60, "the ticks")
        print(f"another chat's message after {lively:.1f} s, all ticks after", end=" ")
        print(f"{time.monotonic() - began:.1f} s")
        assert_equal(stage, everybody)
        assert lively < LIVELY_SECONDS


def test_after_trouble_a_few_long_chats_are_back_at_full_speed_within_ten_seconds(
    tmp_path: Path,
) -> None:
    """What became of lost answers must not cost a call for each, and their order is kept."""
    with quick_stage(tmp_path) as stage:
        stage.install()
        talks = [Talk(stage, f"v{number}") for number in range(FEW_CHATS)]
        stage.trouble(drop_answers=5, drop_method=SEND)
        write_all(talks)
        wait_until(lambda: stage.state()["troubles"]["drop_answers"] == 0, 60)
        stage.trouble(no_session="not stored")
        write_all(talks)  # so that a backlog waits, however fast the first ones went
        known = len(stage.calls(SEND))
        wait_until(lambda: len(stage.calls(SEND)) >= known + 3, 60)

        mend(stage)
        mended = len(stage.calls(SEND)), stage.counts()["messages"]
        time.sleep(BACK_SECONDS)
        sends, there = len(stage.calls(SEND)), stage.counts()["messages"]
        everything = FEW_CHATS * (2 * LONG + 1)
        if everything - there < everything / 4:  # most is sent already: then all of it counts
            sends, there = mended
        assert everything - there >= everything / 4, "a longer backlog is needed to see anything"
        wait_until(lambda: stage.counts()["messages"] >= everything, 60)

        each = (everything - there) / (len(stage.calls(SEND)) - sends)
        print(f"{everything - there} messages of {FEW_CHATS} chats: {each:.1f} a call", end=" ")
        print("after the return")
        assert_equal(stage, talks, 30)
        assert each >= MESSAGES_A_CALL


def write_all(talks: list[Talk]) -> None:
    with ThreadPoolExecutor(FEW_CHATS) as pool:
        list(pool.map(lambda talk: [talk.write() for _ in range(LONG)], talks))
