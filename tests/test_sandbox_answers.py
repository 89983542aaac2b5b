"""The sandbox's answers have the shapes of the official documentation's samples.

`answers.json` holds the shape of each method's sample: the names of fields, and what each holds. A
list has the shape of its first item; `*` stands for any name.
"""

import base64
import json
from pathlib import Path
from typing import Any

from sandbox_parts import ICON, Bitrix, bitrix, fresh, items, running

from sandbox import spec

__all__ = ["bitrix", "fresh", "running"]  # fixtures

ANSWERS = json.loads((Path(__file__).parent / "answers.json").read_text("utf-8"))
# Fields that a sample has because of what its call brought, or that only pictures have.
NOT_ALWAYS = {
    *("extra", "description", "image", "viewerAttrs", "mediaUrl"),
    *("PERSONAL_PHOTO", "phones", "work_phone", "inner_phone", "personal_mobile"),
}
KINDS = {str: "string", bool: "boolean", int: "number", float: "number"}


def differences(sample: Any, answer: Any, where: str = "") -> list[str]:
    """What an answer lacks, or has in another shape than the sample."""
    if answer is None or sample == "null":
        return []  # PHP gives null wherever there is nothing
    if sample in ({}, []):  # nothing is known of what it holds
        return [] if isinstance(answer, list | dict) else [f"{where}: {answer!r}"]
    if isinstance(sample, dict):
        return _differences_of_objects(sample, answer, where)
    if isinstance(sample, list) and isinstance(answer, list):
        return [one for item in answer for one in differences(sample[0], item, f"{where}[]")]
    kind = KINDS.get(type(answer), type(answer).__name__)
    return [] if kind == sample else [f"{where}: {sample} expected, got {answer!r}"]


def _differences_of_objects(sample: dict[str, Any], answer: Any, where: str) -> list[str]:
    if not isinstance(answer, dict):  # PHP's empty array may stand for an empty object
        return [] if answer == [] else [f"{where}: an object expected, got {answer!r}"]
    named = dict.fromkeys(answer, sample["*"]) if "*" in sample else sample
    found = [f"{where}.{key}: missing" for key in named.keys() - answer.keys() - NOT_ALWAYS]
    common = sorted(named.keys() & answer.keys() - NOT_ALWAYS)
    return found + [
        one for key in common for one in differences(named[key], answer[key], f"{where}.{key}")
    ]


def test_a_difference_is_found() -> None:
    sample = {"a": "string", "b": [{"c": "number"}], "d": {"*": "boolean"}, "e": {"f": "number"}}

    assert differences(sample, {"a": "x", "b": [{"c": 1}], "d": {"y": True}, "e": []}) == []
    assert differences(sample, {"a": 1, "b": [{"c": "1"}], "d": {"y": 1}, "e": 1}) == [
        ".a: string expected, got 1",
        ".b[].c: number expected, got '1'",
        ".d.y: boolean expected, got 1",
        ".e: an object expected, got 1",
    ]
    assert differences({"a": "string"}, {}) == [".a: missing"]


def calls(answer: int, handler: str) -> dict[str, dict[str, Any]]:
    """A call of each method whose sample we have; `answer` is an operator's message."""
    status = {
        "CONNECTOR": "chat",
        "LINE": 7,
        "MESSAGES": [
            {
                "im": {"chat_id": 5101, "message_id": answer},
                "message": {"id": ["out-1"]},
                "chat": {"id": "c1"},
            }
        ],
    }
    register = {"ID": "other", "NAME": "Other", "ICON": ICON, "PLACEMENT_HANDLER": handler}
    return {
        "event.bind": {"event": "OnAppInstall", "handler": handler},
        "event.unbind": {"event": "OnAppInstall", "handler": handler},
        "feature.get": {"CODE": "rest_offline_extended"},
        "im.dialog.messages.get": {"DIALOG_ID": "chat5101"},
        "im.message.add": {"DIALOG_ID": "chat5101", "MESSAGE": "for employees", "SYSTEM": "Y"},
        "im.notify.system.add": {"USER_ID": 1, "MESSAGE": "read this", "TAG": "a"},
        "im.user.get": {"ID": 18},
        "imconnector.status": {"CONNECTOR": "chat", "LINE": 7},
        "imconnector.list": {},
        "imconnector.connector.data.set": {"CONNECTOR": "chat", "LINE": 7, "DATA": {"ID": "x"}},
        "imconnector.chat.name.set": {
            "CONNECTOR": "chat", "LINE": 7, "CHAT_ID": "c1", "NAME": "New",
        },
        "imconnector.send.messages": items("again"),
        "imconnector.update.messages": items("edited"),
        "imconnector.delete.messages": items("edited"),
        "imconnector.send.status.delivery": status,
        "imconnector.send.status.reading": status,
        "imopenlines.config.get": {"CONFIG_ID": 7},
        "imopenlines.config.list.get": {"OPTIONS": {"QUEUE": "Y", "CONFIG_QUEUE": "Y"}},
        "imopenlines.dialog.get": {"USER_CODE": "chat|7|c1|2001"},
        "user.get": {"FILTER": {"ID": [1, 18]}},
        "imconnector.register": register,
        "imconnector.activate": {"CONNECTOR": "other", "LINE": 7, "ACTIVE": 1},
        "imconnector.unregister": {"ID": "other"},
    }  # fmt: skip


def test_every_answer_has_the_shape_of_its_official_sample(fresh: Bitrix) -> None:
    fresh.trouble(scope="imopenlines,imconnector,im,user,placement,disk")
    fresh.install()
    fresh.register()
    fresh.connect()
    fresh.do("configure-line", line=7, settings={"QUEUE_USERS_FIELDS": {"1": {"USER_NAME": "O"}}})
    fresh.send("hello")
    content = base64.b64encode(b"plain").decode()
    answer = fresh.answer("See", files=[{"name": "note.txt", "content_base64": content}])
    made = calls(answer, f"{fresh.app.url}/handler")

    found = []
    for method, params in made.items():
        body = fresh.call(method, **params)
        sample = ANSWERS[method]
        found += differences(sample, body, method)

    assert found == []
    assert set(made) == set(ANSWERS)
    assert set(ANSWERS) <= set(spec.METHODS)
    assert fresh.state()["spec_violations"] == []
