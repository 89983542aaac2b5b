"""The running service tells what stops the chat, and that it is over."""

import re
from pathlib import Path

from stage import LINE, Stage, wait_until

# In life a fault is told after a minute, and the watch looks each ten seconds.
SOON = {"operations.watch.LOOK_SECONDS": 0.2, "operations.telling.TELL_SECONDS": 0.5}
CURE = "choose ExampleSiteChat, pick a line and press Connect"


def told(stage: Stage) -> list[str]:
    """What the log has of the faults that stop the chat."""
    lines = stage.log.read_text().splitlines()
    return [line for line in lines if "operations.telling" in line]


def test_the_service_tells_once_that_the_line_is_gone_and_once_that_it_is_back(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path)
    stage.constants = SOON
    with stage:
        stage.install()
        stage.press("disconnect", line=LINE)
        visitor = stage.visitor()
        chat = visitor.send("Is anybody there?")["chat"]

        wait_until(lambda: stage.state()["notifications"], 5, "the note to the administrator")

        [line] = told(stage)
        assert " ERROR " in line
        assert "the chat does not work: lines.line_none: No open line is connected" in line
        assert CURE in line
        [note] = stage.state()["notifications"]
        assert note["user_id"] == 1
        assert "No open line is connected" in note["text"]
        assert CURE in note["text"]

        stage.press("connect", line=LINE)

        wait_until(lambda: len(told(stage)) > 1, 5, "the end of the fault")
        [_, end] = told(stage)
        assert re.search(r" INFO .*over after \d+ s: lines\.line_none$", end)
        wait_until(lambda: stage.texts(chat) == ["Is anybody there?"], 5, "the message that waited")
        assert len(stage.state()["notifications"]) == 1
        assert len(told(stage)) == 2
