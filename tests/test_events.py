"""What Bitrix24 posts is checked and read; the samples are as really posted."""

import copy
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote_plus

import pytest

from bbcode import take_signature
from portal.attachments import attached_lines
from portal.events import (
    Auth,
    DialogEvent,
    Event,
    IncomingFile,
    IncomingMessage,
    fields_of,
    read_changed_messages,
    read_dialogs,
    read_event,
    read_messages,
    read_placement,
)
from portal.forms import LARGEST_ID, BadRequest, Form, decode_form

CHAT = "chat" + "0123456789abcdef" * 4
ACCESS_TOKEN = "11aa22bb-access"
APPLICATION_TOKEN = "ab" * 16

ENVELOPE = f"""
ts=1790000000
auth[access_token]={ACCESS_TOKEN}
auth[expires]=1790003600
auth[expires_in]=3600
auth[scope]=imopenlines,imconnector,im,user_brief
auth[domain]=example.bitrix24.ru
auth[server_endpoint]=https://oauth.bitrix24.tech/rest/
auth[status]=L
auth[client_endpoint]=https://example.bitrix24.ru/rest/
auth[member_id]=0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f
auth[user_id]=18
auth[application_token]={APPLICATION_TOKEN}
"""

NO_USER = f"""
ts=1790000000
auth[domain]=example.bitrix24.ru
auth[client_endpoint]=https://example.bitrix24.ru/rest/
auth[server_endpoint]=https://oauth.bitrix24.tech/rest/
auth[member_id]=0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f
auth[application_token]={APPLICATION_TOKEN}
"""

TEXT = f"""
event=ONIMCONNECTORMESSAGEADD
event_handler_id=41
data[CONNECTOR]=acme_sitechat
data[LINE]=7
data[MESSAGES][0][im][chat_id]=5120
data[MESSAGES][0][im][message_id]=903311
data[MESSAGES][0][message][user_id]=18
data[MESSAGES][0][message][text]=[b]Olga Petrova:[/b] [br]Good morning!
data[MESSAGES][0][chat][id]={CHAT}
{ENVELOPE}"""

FILES = f"""
event=ONIMCONNECTORMESSAGEADD
data[CONNECTOR]=acme_sitechat
data[LINE]=7
data[MESSAGES][0][im][chat_id]=5120
data[MESSAGES][0][im][message_id]=903318
data[MESSAGES][0][message][user_id]=18
data[MESSAGES][0][message][text]=[b]Olga Petrova:[/b]\x20
data[MESSAGES][0][message][files][0][name]=scheme.png
data[MESSAGES][0][message][files][0][type]=image
data[MESSAGES][0][message][files][0][mime]=image/png
data[MESSAGES][0][message][files][0][link]=https://example.bitrix24.ru/~aB3dE#img.png
data[MESSAGES][0][message][files][0][size]=48211
data[MESSAGES][0][message][files][0][sizef]=47.08 KB
data[MESSAGES][0][message][files][0][width]=800
data[MESSAGES][0][message][files][0][height]=600
data[MESSAGES][0][message][files][1][name]=price.pdf
data[MESSAGES][0][message][files][1][type]=file
data[MESSAGES][0][message][files][1][link]=https://example.bitrix24.ru/~Qw9rT
data[MESSAGES][0][message][files][1][size]=190233
data[MESSAGES][0][chat][id]={CHAT}
{ENVELOPE}"""

RATING = f"""
event=ONIMCONNECTORMESSAGEADD
data[CONNECTOR]=acme_sitechat
data[LINE]=7
data[MESSAGES][0][im][chat_id]=5120
data[MESSAGES][0][im][message_id]=903340
data[MESSAGES][0][message][user_id]=0
data[MESSAGES][0][message][text]=Please rate our answer: 1 - good, 0 - bad
data[MESSAGES][0][message][params][CLASS]=bx-messenger-content-item-ol-output bx-messenger-content-item-vote
data[MESSAGES][0][message][params][IMOL_VOTE]=3301
data[MESSAGES][0][message][params][IMOL_VOTE_TEXT]=Rate the talk
data[MESSAGES][0][message][params][IMOL_VOTE_LIKE]=Thank you!
data[MESSAGES][0][message][params][IMOL_VOTE_DISLIKE]=Sorry to hear that
data[MESSAGES][0][message][params][IMOL_FORM]=like
data[MESSAGES][0][chat][id]={CHAT}
{NO_USER}"""  # noqa: E501

UPDATE = f"""
event=ONIMCONNECTORMESSAGEUPDATE
data[CONNECTOR]=acme_sitechat
data[LINE]=7
data[MESSAGES][0][im][chat_id]=5120
data[MESSAGES][0][im][message_id]=903311
data[MESSAGES][0][message][id][0]=m-out-000512
data[MESSAGES][0][message][text]=[b]Olga Petrova:[/b][br] Good morning, edited.
data[MESSAGES][0][chat][id]={CHAT}
{ENVELOPE}"""

DELETE = f"""
event=ONIMCONNECTORMESSAGEDELETE
data[CONNECTOR]=acme_sitechat
data[LINE]=7
data[MESSAGES][0][im][chat_id]=5120
data[MESSAGES][0][im][message_id]=903311
data[MESSAGES][0][message][id]=m-out-000512
data[MESSAGES][0][chat][id]={CHAT}
{ENVELOPE}"""

DIALOG_START = f"""
event=ONIMCONNECTORDIALOGSTART
data[CONNECTOR]=acme_sitechat
data[LINE]=7
data[DATA][0][connector][connector_id]=acme_sitechat
data[DATA][0][connector][line_id]=7
data[DATA][0][connector][chat_id]={CHAT}
data[DATA][0][connector][user_id]=2114
data[DATA][0][session][id]=3301
data[DATA][0][session][closed]=N
data[DATA][0][session][parent_id]=0
data[DATA][0][session][close_term]=1440
data[DATA][0][chat][id]=5120
data[DATA][0][user][id]=2114
{NO_USER}"""

STATUS_DELETE = f"""
event=ONIMCONNECTORSTATUSDELETE
data[connector]=acme_sitechat
data[line]=7
{ENVELOPE}"""

LINE_DELETE = f"""
event=ONIMCONNECTORLINEDELETE
data=7
{ENVELOPE}"""

INSTALL = f"""
event=ONAPPINSTALL
data[VERSION]=1
data[ACTIVE]=Y
data[INSTALLED]=Y
data[LANGUAGE_ID]=ru
auth[refresh_token]=77gg88hh
{ENVELOPE}"""

UNINSTALL = f"""
event=ONAPPUNINSTALL
data[CLEAN]=1
data[LANGUAGE_ID]=ru
{NO_USER}"""

PLACEMENT = f"""
AUTH_ID={ACCESS_TOKEN}
AUTH_EXPIRES=3600
REFRESH_ID=55ee66ff
SERVER_ENDPOINT=https://oauth.bitrix24.tech/rest/
member_id=0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f
status=L
PLACEMENT=SETTING_CONNECTOR
PLACEMENT_OPTIONS={{"LINE":7,"CONNECTOR":"acme_sitechat","STATUS":false,"ACTIVE_STATUS":true,"CONNECTION_STATUS":false,"REGISTER_STATUS":false,"ERROR_STATUS":false}}
"""

ALL_EVENTS = [
    (TEXT, "ONIMCONNECTORMESSAGEADD"),
    (FILES, "ONIMCONNECTORMESSAGEADD"),
    (RATING, "ONIMCONNECTORMESSAGEADD"),
    (UPDATE, "ONIMCONNECTORMESSAGEUPDATE"),
    (DELETE, "ONIMCONNECTORMESSAGEDELETE"),
    (DIALOG_START, "ONIMCONNECTORDIALOGSTART"),
    (STATUS_DELETE, "ONIMCONNECTORSTATUSDELETE"),
    (LINE_DELETE, "ONIMCONNECTORLINEDELETE"),
    (INSTALL, "ONAPPINSTALL"),
    (UNINSTALL, "ONAPPUNINSTALL"),
]
MISSING: Any = object()


def posted(sample: str) -> Form:
    """A sample's lines as the portal posts them, decoded."""
    lines = [line for line in sample.split("\n") if line]
    pairs = [line.split("=", 1) for line in lines]
    return decode_form("&".join(f"{quote_plus(k)}={quote_plus(v)}" for k, v in pairs).encode())


def data_of(sample: str) -> Form:
    return fields_of(read_event(posted(sample)))


def changed(form: Form, path: str, value: Any) -> Form:
    """A copy of the form with one field changed or, for MISSING, taken out."""
    form = copy.deepcopy(form)
    *way, last = path.split(".")
    branch = form
    for part in way:
        branch = branch[part]
    if value is MISSING:
        del branch[last]
    else:
        branch[last] = value
    return form


# -- the envelope


@pytest.mark.parametrize(("sample", "name"), ALL_EVENTS)
def test_the_envelope_of_every_event_is_read(sample: str, name: str) -> None:
    event = read_event(posted(sample))

    assert event.name == name
    assert event.auth.application_token == APPLICATION_TOKEN
    assert event.auth.member_id == "0f" * 16
    assert event.auth.access_token == (ACCESS_TOKEN if ENVELOPE in sample else "")
    assert event.auth.fields["domain"] == "example.bitrix24.ru"


def test_an_install_brings_its_refresh_token() -> None:
    assert read_event(posted(INSTALL)).auth.fields["refresh_token"] == "77gg88hh"


def test_the_name_of_an_event_may_come_in_any_case() -> None:
    form = changed(posted(TEXT), "event", "OnImConnectorMessageAdd")

    assert read_event(form).name == "ONIMCONNECTORMESSAGEADD"


def test_data_may_be_a_bare_value() -> None:
    event = read_event(posted(LINE_DELETE))

    assert event.data == "7"
    with pytest.raises(BadRequest, match="data"):
        fields_of(event)


@pytest.mark.parametrize(
    ("ts", "seconds"), [("1790000000", 1_790_000_000), (MISSING, 0), ("soon", 0), ("9" * 30, 0)]
)
def test_when_an_event_was_queued_is_no_condition(ts: Any, seconds: int) -> None:
    assert read_event(changed(posted(UNINSTALL), "ts", ts)).queued_at == seconds


def test_data_may_have_vanished_because_it_was_empty() -> None:
    event = read_event(changed(posted(UNINSTALL), "data", MISSING))

    assert fields_of(event) == {}
    with pytest.raises(BadRequest, match="MESSAGES is missing"):
        read_messages(fields_of(event))


def test_lower_case_fields_of_a_status_delete_are_read() -> None:
    assert data_of(STATUS_DELETE) == {"connector": "acme_sitechat", "line": "7"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("event", MISSING),
        ("event", ""),
        ("event", {"0": "ONIMCONNECTORMESSAGEADD"}),
        ("auth", MISSING),
        ("auth", "x"),
        ("auth.application_token", MISSING),
        ("auth.application_token", ""),
        ("auth.application_token", {"0": APPLICATION_TOKEN}),
        ("auth.member_id", {"0": "x"}),
        ("auth.access_token", {"0": "x"}),
    ],
)
def test_a_broken_envelope_is_refused_by_the_name_of_its_field(path: str, value: Any) -> None:
    with pytest.raises(BadRequest, match=path.rpartition(".")[2]) as caught:
        read_event(changed(posted(TEXT), path, value))

    assert APPLICATION_TOKEN not in str(caught.value)
    assert ACCESS_TOKEN not in str(caught.value)


# -- messages


def test_an_operators_text_is_read_with_its_signature() -> None:
    assert read_messages(data_of(TEXT)) == [
        IncomingMessage(
            chat_id=CHAT,
            im_chat_id=5120,
            im_message_id=903311,
            user_id=18,
            text="[b]Olga Petrova:[/b] [br]Good morning!",
            files=(),
            params={},
        )
    ]


def test_files_are_read_with_what_is_known_of_them() -> None:
    (message,) = read_messages(data_of(FILES))

    assert message.text == "[b]Olga Petrova:[/b] "
    assert message.files == (
        IncomingFile("scheme.png", "image", "https://example.bitrix24.ru/~aB3dE#img.png", 48211),
        IncomingFile("price.pdf", "file", "https://example.bitrix24.ru/~Qw9rT", 190233),
    )


def test_a_file_needs_nothing_but_its_link() -> None:
    data = changed(data_of(FILES), "MESSAGES.0.message.files", {"0": {"link": "https://p/~a"}})

    (message,) = read_messages(data)

    assert message.files == (IncomingFile("", "file", "https://p/~a", None),)


@pytest.mark.parametrize("size", ["big", "12.5", "-1", "9" * 25, "", {"0": "1"}])
def test_a_size_that_is_none_costs_nothing_else(size: Any) -> None:
    files = {"0": {"link": "https://p/~a", "size": size}}

    (message,) = read_messages(changed(data_of(FILES), "MESSAGES.0.message.files", files))

    assert message.files == (IncomingFile("", "file", "https://p/~a", None),)


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ("x", 0),
        ({"0": "x"}, 0),
        ({"0": "x", "1": {"name": "a"}}, 1),
        ({"0": {"link": {"0": "x"}, "name": {"0": "x"}, "type": {"0": "x"}}}, 1),
    ],
)
def test_files_of_another_shape_do_not_cost_the_message(files: Any, count: int) -> None:
    (message,) = read_messages(changed(data_of(TEXT), "MESSAGES.0.message.files", files))

    assert message.text
    assert len(message.files) == count


ATTACHED = [
    # What is said twice is shown twice, also where the text has a part of it.
    (["Цена", "100", "100", "да"], "Цена 100 руб, да", ["Цена", "100", "100", "да"]),
    (
        [{"LINK": {"NAME": "A", "LINK": "https://a.example/1", "DESC": "in stock"}},
         {"LINK": {"NAME": "B", "LINK": "https://a.example/2", "DESC": "in stock"}}],
        "",
        ["[url=https://a.example/1]A[/url]", "in stock",
         "[url=https://a.example/2]B[/url]", "in stock"],
    ),
    # A link that the text has is not said again.
    ([{"LINK": "https://a.example/1"}], "see https://a.example/1 !", []),
    ([{"LINK": "https://a.example/1"}], "see https://a.example/12", ["[url=https://a.example/1]https://a.example/1[/url]"]),
    ([{"LINK": {"NAME": "A", "LINK": "https://a.example/1"}}] * 2, "", ["[url=https://a.example/1]A[/url]"]),
    # What is written otherwise
    ([{"LINK": {"NAME": "A", "LINK": "www.a.example"}}], "", ["[url=www.a.example]A[/url]"]),
    ([{"LINK": {"NAME": "A", "LINK": "лампы.рф"}}], "", ["[url=лампы.рф]A[/url]"]),
    ([{"GRID": [{"NAME": "Sum", "VALUE": 0}]}], "", ["Sum: 0"]),
    ([{"GRID": [{"NAME": "Of", "VALUE": ["a", "b"]}]}], "", ["Of: a, b"]),
    ([{"MESSAGE": "m", "LINK": "https://a.example", "NAME": "n"}], "", ["m", "[url=https://a.example]n[/url]"]),
    ([{"HTML": "<a href='https://a/?b&amp;c'>d</a> x"}], "", ["[url=https://a/?b&c]d[/url] x"]),
    ([{"HTML": "<a href=javascript:x>here</a><a name=y>z</a>"}], "", ["herez"]),
    ([{"HTML": "<table><tr><td>a</td><td>b</td></tr><tr><td>c"}], "", ["a b", "c"]),
    ([{"HTML": "<ul><li>a<li>b</ul><style>x<b>y</b></style>c"}], "", ["a", "b", "c"]),
    ([{"HTML": "1 < 2 > 1 &amp; <b>x"}], "", ["1 < 2 > 1 & x"]),
]  # fmt: skip


@pytest.mark.parametrize(("blocks", "text", "lines"), ATTACHED)
def test_nothing_that_is_attached_is_lost(blocks: list[Any], text: str, lines: list[str]) -> None:
    given = [{"MESSAGE": block} if isinstance(block, str) else block for block in blocks]

    assert attached_lines(given, text).splitlines() == lines


@pytest.mark.parametrize(
    "block",
    [
        {"HTML": "<div>" * 100_000},
        {"HTML": "&" * 400_000},
        {"HTML": "<script>" * 60_000},
        {"HTML": "<a href=" * 60_000},
        {"HTML": "<a href='https://a.example'>" * 20_000},
        [{"MESSAGE": f"m{number}"} for number in range(20_000)],
    ],
    ids=lambda block: str(block)[:20],
)
def test_a_long_hostile_attachment_takes_less_than_a_second(block: Any) -> None:
    began = time.process_time()
    attached_lines([block], "x\n" * 100_000)

    assert time.process_time() - began < 1


@pytest.mark.parametrize("value", [MISSING, ""])
def test_a_file_alone_needs_no_text(value: Any) -> None:
    (message,) = read_messages(changed(data_of(FILES), "MESSAGES.0.message.text", value))

    assert message.text == ""
    assert len(message.files) == 2


@pytest.mark.parametrize("path", ["MESSAGES.0.message.attachments", "MESSAGES.0.attachments_old"])
def test_an_attachment_alone_needs_no_text(path: str) -> None:
    data = changed(data_of(TEXT), "MESSAGES.0.message.text", MISSING)

    (message,) = read_messages(changed(data, path, {"0": '{"BLOCKS":[{"MESSAGE":"Hi"}]}'}))

    assert (message.text, message.attached) == ("", "Hi")


def test_of_an_attachment_that_says_nothing_it_is_seen_that_it_is_there() -> None:
    data = changed(data_of(TEXT), "MESSAGES.0.message.text", "")

    (message,) = read_messages(changed(data, "MESSAGES.0.attachments_old", {"0": "{broken"}))

    assert message.attached == "…"


@pytest.mark.parametrize("signature", ["[b]Olga:[/b] ", "[b]Olga:[/b]", "[b]Olga:[/b] [br]", ""])
def test_an_attachment_alone_leaves_the_signature_one(signature: str) -> None:
    data = changed(data_of(TEXT), "MESSAGES.0.message.text", signature)
    attached = {"0": '{"BLOCKS":[{"MESSAGE":"Hi"}]}'}

    (message,) = read_messages(changed(data, "MESSAGES.0.attachments_old", attached))

    assert take_signature(message.text) == ("Olga" if signature else None, "")
    assert message.attached == "Hi"


def test_what_is_attached_stands_below_the_text() -> None:
    blocks = [
        {"MESSAGE": "Order 5 is ready"},
        {"LINK": [{"NAME": "Track it", "LINK": "https://x.example/t", "DESC": "on the map"}]},
        {"GRID": [{"NAME": "Sum", "VALUE": "5 €"}]},
        {"GRID": {"0": {"NAME": "a", "VALUE": "1", "DISPLAY": "ROW"},
                  "1": {"NAME": "b", "VALUE": "2", "DISPLAY": "COLUMN", "LINK": "https://g.example"}}},
        {"GRID": [{"NAME": "c", "VALUE": "3", "DISPLAY": "LINE"},
                  {"NAME": "d", "VALUE": "4", "DISPLAY": "LINE"},
                  {"NAME": "e", "VALUE": 5, "DISPLAY": "BLOCK"}]},
        {"DELIMITER": {"SIZE": 200}},
        {"IMAGE": {"NAME": "a lamp", "LINK": "https://i.example/1.png", "PREVIEW": "https://i.example/s"}},
        {"IMAGE": "https://i.example/2.png"},
        {"FILE": {"NAME": "bill.pdf", "LINK": "https://f.example/a[1] b", "SIZE": "20480"}},
        {"DELIMITER": []},
        {"USER": {"NAME": "Olga", "AVATAR": "https://u.example/o.png", "LINK": "/company/5/"}},
        {"HTML": "<p>as <b>text</b></p><script>x</script>1 &lt; 2"},
        {"LINK": {"NAME": "portal", "LINK": "/crm/deal/5/"}},
    ]  # fmt: skip
    rich = {"LINK": "https://r.example", "NAME": "Rich", "richData": {"url": "https://r.example"}}
    card = {
        "richData": {
            "url": "https://shop.example/lamp",
            "title": "Lamp",
            "description": "50 €",
            "image": {"src": "https://shop.example/lamp.jpg"},
        }
    }
    data = changed(data_of(TEXT), "MESSAGES.0.message.attachments", {"0": rich, "1": card})
    broken = "[" * 100_000
    attached = {"0": json.dumps({"BLOCKS": blocks}), "1": "{broken", "2": broken, "3": "7"}

    (message,) = read_messages(changed(data, "MESSAGES.0.attachments_old", attached))

    assert message.attached.splitlines() == [
        "[url=https://r.example]Rich[/url]",
        "[url=https://shop.example/lamp]Lamp[/url]",
        "[url=https://shop.example/lamp][img]https://shop.example/lamp.jpg[/img][/url]",
        "50 €",
        "Order 5 is ready",
        "[url=https://x.example/t]Track it[/url]",
        "on the map",
        "Sum: 5 €",
        "[table][tr][th]a[/th][td]1[/td][/tr]"
        "[tr][th]b[/th][td][url=https://g.example]2[/url][/td][/tr][/table]",
        "[table][tr][th]c[/th][th]d[/th][/tr][tr][td]3[/td][td]4[/td][/tr][/table]",
        "e: 5",
        "[hr]",
        "[url=https://i.example/1.png][img]https://i.example/s[/img][/url]",
        "a lamp",
        "[url=https://i.example/2.png][img]https://i.example/2.png[/img][/url]",
        "[url=https://f.example/a%5B1%5D b]bill.pdf (20 KB)[/url]",
        "[hr]",
        "[icon=https://u.example/o.png title=Olga] Olga",
        "as text",
        "1 < 2",
        "portal",
    ]


def test_a_rating_request_keeps_its_parameters_and_is_the_systems() -> None:
    (message,) = read_messages(data_of(RATING))

    assert message.user_id == 0
    assert message.is_system
    assert message.params["IMOL_VOTE"] == "3301"
    assert message.params["IMOL_FORM"] == "like"
    assert message.params["IMOL_VOTE_LIKE"] == "Thank you!"


def test_a_class_may_be_a_list() -> None:
    classes = {"0": "bx-messenger-content-item-ol-output", "1": "vote"}
    data = changed(data_of(RATING), "MESSAGES.0.message.params.CLASS", classes)

    (message,) = read_messages(data)

    assert message.params["CLASS"] == "bx-messenger-content-item-ol-output vote"


@pytest.mark.parametrize(
    ("user_id", "classes", "system"),
    [
        ("18", "", False),
        ("18", "bx-messenger-content-item-vote", False),
        ("18", "bx-messenger-content-item-ol-output", True),
        ("18", {"0": "a", "1": "bx-messenger-content-item-ol-output"}, True),
        ("0", "", True),
        (MISSING, "", True),
    ],
)
def test_author_0_or_a_class_of_the_portals_own_makes_a_message_the_systems(
    user_id: Any, classes: Any, system: bool
) -> None:
    data = changed(data_of(RATING), "MESSAGES.0.message.user_id", user_id)
    data = changed(data, "MESSAGES.0.message.params", {"CLASS": classes})

    assert read_messages(data)[0].is_system is system


def test_every_item_of_an_event_is_read() -> None:
    data = data_of(TEXT)
    second = changed(data["MESSAGES"]["0"], "im.message_id", "903312")

    messages = read_messages(changed(data, "MESSAGES.1", second))

    assert [message.im_message_id for message in messages] == [903311, 903312]


WRONG_NUMBERS = [
    MISSING, "", "0", "-1", "+1", "1.0", "1e3", "abc", " 1", "1\n", "0x1", "١", "1_0",
    str(LARGEST_ID + 1), "9" * 5_000, {"0": "1"},
]  # fmt: skip
WRONG_CHATS = [
    MISSING, "", "c-7f31aa", CHAT.upper(), CHAT[:-1], f"{CHAT}0", f"{CHAT}\n", f" {CHAT}",
    "chat" + "g" * 64, {"0": CHAT},
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("MESSAGES", MISSING),
        ("MESSAGES", "x"),
        ("MESSAGES.0", "x"),
        ("MESSAGES.1", "x"),
        ("MESSAGES.0.im", MISSING),
        ("MESSAGES.0.im", "x"),
        *(("MESSAGES.0.im.message_id", value) for value in WRONG_NUMBERS),
        *(("MESSAGES.0.im.chat_id", value) for value in WRONG_NUMBERS),
        ("MESSAGES.0.message", MISSING),
        ("MESSAGES.0.message", "x"),
        ("MESSAGES.0.message.text", MISSING),
        ("MESSAGES.0.message.text", {"0": "x"}),
        ("MESSAGES.0.message.user_id", "x"),
        ("MESSAGES.0.message.user_id", "-1"),
        ("MESSAGES.0.message.user_id", {"0": "18"}),
        ("MESSAGES.0.chat", MISSING),
        ("MESSAGES.0.chat", CHAT),
        *(("MESSAGES.0.chat.id", value) for value in WRONG_CHATS),
    ],
)
def test_a_message_of_another_shape_is_refused(path: str, value: Any) -> None:
    with pytest.raises(BadRequest):
        read_messages(changed(data_of(TEXT), path, value))


def test_the_largest_id_is_still_read() -> None:
    data = changed(data_of(TEXT), "MESSAGES.0.im.message_id", str(LARGEST_ID))

    assert read_messages(data)[0].im_message_id == LARGEST_ID


# -- changed messages


def test_an_edited_message_is_read_with_its_new_text() -> None:
    (message,) = read_changed_messages(data_of(UPDATE), with_text=True)

    assert (message.chat_id, message.im_chat_id, message.im_message_id) == (CHAT, 5120, 903311)
    assert message.text == "[b]Olga Petrova:[/b][br] Good morning, edited."


@pytest.mark.parametrize("ids", ["m-out-000512", {"0": "m-out-000512"}, MISSING])
def test_a_deleted_message_is_read_however_its_id_is_written(ids: Any) -> None:
    data = changed(data_of(DELETE), "MESSAGES.0.message.id", ids)

    (message,) = read_changed_messages(data, with_text=False)

    assert (message.chat_id, message.im_message_id, message.text) == (CHAT, 903311, "")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("MESSAGES", MISSING),
        ("MESSAGES.0", "x"),
        ("MESSAGES.0.im", MISSING),
        ("MESSAGES.0.im.message_id", "x"),
        ("MESSAGES.0.im.chat_id", MISSING),
        ("MESSAGES.0.message.text", {"0": "x"}),
        *(("MESSAGES.0.chat.id", value) for value in WRONG_CHATS),
    ],
)
def test_a_change_of_another_shape_is_refused(path: str, value: Any) -> None:
    with pytest.raises(BadRequest):
        read_changed_messages(changed(data_of(UPDATE), path, value), with_text=True)


def test_a_caption_may_be_taken_away() -> None:
    (message,) = read_changed_messages(
        changed(data_of(UPDATE), "MESSAGES.0.message.text", ""), with_text=True
    )

    assert message.text == ""


# -- dialogs


def test_a_dialog_is_read_with_the_portals_ids() -> None:
    assert read_dialogs(data_of(DIALOG_START)) == [
        DialogEvent(chat_id=CHAT, portal_chat_id=5120, portal_user_id=2114, session_id=3301)
    ]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("DATA", MISSING),
        ("DATA", "x"),
        ("DATA.0", "x"),
        ("DATA.0.connector", MISSING),
        *(("DATA.0.connector.chat_id", value) for value in WRONG_CHATS),
        ("DATA.0.chat", MISSING),
        ("DATA.0.chat.id", "x"),
        ("DATA.0.session", MISSING),
        ("DATA.0.session.id", "0"),
        ("DATA.0.user", "2114"),
    ],
)
def test_a_dialog_of_another_shape_is_refused(path: str, value: Any) -> None:
    with pytest.raises(BadRequest):
        read_dialogs(changed(data_of(DIALOG_START), path, value))


# -- the placement


def with_options(**options: Any) -> Form:
    known = json.loads(posted(PLACEMENT)["PLACEMENT_OPTIONS"]) | options
    given = {key: value for key, value in known.items() if value is not MISSING}
    return changed(posted(PLACEMENT), "PLACEMENT_OPTIONS", json.dumps(given))


def test_the_settings_page_is_read() -> None:
    placement = read_placement(posted(PLACEMENT))

    assert placement.line == 7
    assert placement.connector == "acme_sitechat"
    assert placement.active is True
    assert placement.access_token == ACCESS_TOKEN
    assert placement.application_token == ""


def test_newer_builds_bring_an_application_token() -> None:
    form = changed(posted(PLACEMENT), "APPLICATION_TOKEN", APPLICATION_TOKEN)

    assert read_placement(form).application_token == APPLICATION_TOKEN


@pytest.mark.parametrize(
    ("spelling", "active"),
    [
        (True, True), ("Y", True), ("y", True), (1, True), ("1", True), ("true", True),
        (False, False), ("N", False), ("n", False), (0, False), ("0", False), ("false", False),
        ("", False),
    ],
)  # fmt: skip
def test_a_boolean_is_understood_in_every_spelling(spelling: Any, active: bool) -> None:
    assert read_placement(with_options(ACTIVE_STATUS=spelling)).active is active


@pytest.mark.parametrize("line", [7, "7", "07"])
def test_a_line_may_be_a_number_or_text(line: Any) -> None:
    assert read_placement(with_options(LINE=line)).line == 7


def test_the_connector_is_read_in_lower_case() -> None:
    assert read_placement(with_options(CONNECTOR="ACME_SiteChat")).connector == "acme_sitechat"


@pytest.mark.parametrize("line", [MISSING, None, True, 0, -7, 7.5, "", "x", [7], {"0": 7}, 1 << 63])
def test_a_line_that_is_no_number_is_refused(line: Any) -> None:
    with pytest.raises(BadRequest, match="LINE"):
        read_placement(with_options(LINE=line))


@pytest.mark.parametrize("active", [MISSING, None, [], {}, [True], 1.5])
def test_an_active_status_that_is_no_boolean_is_refused(active: Any) -> None:
    with pytest.raises(BadRequest, match="ACTIVE_STATUS"):
        read_placement(with_options(ACTIVE_STATUS=active))


@pytest.mark.parametrize(
    "options",
    [
        MISSING, "", "x", "{", "[]", "7", "null", '"x"', "[" * 100_000,
        '{"LINE":' + "9" * 5_000 + ',"ACTIVE_STATUS":true}', {"LINE": "7"},
    ],
    ids=lambda options: str(options)[:12],
)  # fmt: skip
def test_options_that_are_no_json_object_are_refused(options: Any) -> None:
    with pytest.raises(BadRequest):
        read_placement(changed(posted(PLACEMENT), "PLACEMENT_OPTIONS", options))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("AUTH_ID", MISSING),
        ("AUTH_ID", ""),
        ("AUTH_ID", {"0": "x"}),
        ("APPLICATION_TOKEN", {"0": "x"}),
    ],
)
def test_a_placement_with_a_broken_token_is_refused(path: str, value: Any) -> None:
    with pytest.raises(BadRequest, match=path):
        read_placement(changed(posted(PLACEMENT), path, value))


# -- secrets


@pytest.mark.parametrize("sample", [sample for sample, _ in ALL_EVENTS])
def test_an_event_shows_no_token(sample: str) -> None:
    event = read_event(posted(sample))

    for picture in (repr(event), str(event), repr(event.auth), f"{event.auth}"):
        for secret in (ACCESS_TOKEN, APPLICATION_TOKEN, "77gg88hh"):
            assert secret not in picture


def test_a_placement_shows_no_token() -> None:
    form = changed(posted(PLACEMENT), "APPLICATION_TOKEN", APPLICATION_TOKEN)

    picture = repr(read_placement(form))

    assert "line=7" in picture
    for secret in (ACCESS_TOKEN, APPLICATION_TOKEN, "55ee66ff"):
        assert secret not in picture


def test_what_was_read_cannot_be_changed() -> None:
    event = read_event(posted(TEXT))

    assert isinstance(event, Event)
    assert isinstance(event.auth, Auth)
    with pytest.raises(AttributeError):
        event.name = "ONAPPINSTALL"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        event.auth.application_token = "x"  # type: ignore[misc]


GOOD_ITEM = {
    "im": {"chat_id": "5120", "message_id": "903311"},
    "message": {"id": {"0": "3"}, "user_id": "18", "text": "hello"},
    "chat": {"id": CHAT},
}
GOOD_DIALOG = {
    "connector": {"chat_id": CHAT},
    "chat": {"id": "5120"},
    "user": {"id": "7"},
    "session": {"id": "3301"},
}


@pytest.mark.parametrize("bad", [{"chat": {"id": "somebody"}}, {}])
@pytest.mark.parametrize(
    ("read", "key", "good"),
    [
        (read_messages, "MESSAGES", GOOD_ITEM),
        (partial(read_changed_messages, with_text=True), "MESSAGES", GOOD_ITEM),
        (partial(read_changed_messages, with_text=False), "MESSAGES", GOOD_ITEM),
        (read_dialogs, "DATA", GOOD_DIALOG),
    ],
    ids=["messages", "updates", "deletions", "dialogs"],
)
def test_a_bad_item_does_not_take_the_others_with_it(
    read: Callable[[Any], list[Any]], key: str, good: dict[str, Any], bad: object
) -> None:
    for items in ({"0": bad, "1": good}, {"0": good, "1": bad}):
        (item,) = read({key: items})
        assert item.chat_id == CHAT
    for none_good in ({"0": bad}, {}):
        with pytest.raises(BadRequest):
            read({key: none_good})


def test_a_file_without_a_link_keeps_its_name() -> None:
    item = {
        "im": {"chat_id": "5120", "message_id": "903311"},
        "message": {"user_id": "18", "text": "see", "files": {"0": {"name": "price.pdf"}}},
        "chat": {"id": CHAT},
    }

    (message,) = read_messages({"MESSAGES": {"0": item}})

    assert (message.text, message.files[0].name, message.files[0].link) == ("see", "price.pdf", "")
