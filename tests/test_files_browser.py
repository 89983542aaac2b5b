"""Files in a real browser: chosen, dropped, pasted, shrunk, cancelled, sent again, received."""

import base64
import io
import re
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from pages import chat_of, shows, until, write
from playwright.sync_api import (
    APIResponse,
    Browser,
    BrowserContext,
    Dialog,
    FilePayload,
    Locator,
    Page,
    Request,
    Route,
    expect,
)
from stage import Stage, wait_until
from test_round_trip import PICTURE

PNG = base64.b64decode(PICTURE)
OWN = "article.message.visitor"
DRAW = """
  async ({width, height, type, orientation}) => {
    const canvas = new OffscreenCanvas(width, height)
    const pen = canvas.getContext("2d")
    pen.fillStyle = "teal"
    pen.fillRect(0, 0, width, height)
    let parts = [await canvas.convertToBlob({type})]
    if (orientation) { // an EXIF block behind the first marker
      const exif = [0xff, 0xe1, 0, 34, 69, 120, 105, 102, 0, 0, 77, 77, 0, 42, 0, 0, 0, 8, 0, 1]
      exif.push(1, 18, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, 0, 0, 0, 0)
      parts = [parts[0].slice(0, 2), new Uint8Array(exif), parts[0].slice(2)]
    }
    window.drawn = new File(parts, `drawn.${type.slice(6)}`, {type})
  }
"""
# What follows a PNG's end is passed over by whoever reads it.
MAKE_HEAVY = """
  (bytes) => { drawn = new File([drawn, new Uint8Array(bytes)], drawn.name, {type: drawn.type}) }
"""
LIMIT_BYTES = 20 << 20
HAND_OVER = """
  ({event, text}) => {
    const dataTransfer = new DataTransfer()
    dataTransfer.items.add(window.drawn)
    if (text) dataTransfer.setData("text/plain", text)
    const options = {bubbles: true, cancelable: true, dataTransfer, clipboardData: dataTransfer}
    const target = document.querySelector(event === "paste" ? "#message" : ".log")
    target.dispatchEvent(new (event === "paste" ? ClipboardEvent : DragEvent)(event, options))
  }
"""


def silence() -> bytes:
    """A second of it, as a WAV."""
    written = io.BytesIO()
    with wave.open(written, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8000)
        sound.writeframes(b"\x80" * 8000)
    return written.getvalue()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(locale="en-GB", viewport={"width": 1000, "height": 800})
    yield context
    context.close()


@pytest.fixture
def page(stage: Stage, context: BrowserContext) -> Iterator[Page]:
    """The chat page, on which no script fails."""
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_default_timeout(30_000)
    page.goto(f"{stage.chat}/")
    page.locator("live-chat[data-ready]").wait_for()
    yield page
    assert errors == []


def choose(page: Page, *files: tuple[str, str, bytes]) -> None:
    page.set_input_files(
        ".clip input",
        [FilePayload(name=name, mimeType=mime, buffer=content) for name, mime, content in files],
    )


def draw(page: Page, width: int = 40, height: int = 30, **options: Any) -> None:
    page.evaluate(DRAW, {"width": width, "height": height, "type": "image/png", **options})


def hand_over(page: Page, event: str, text: str = "") -> None:
    page.evaluate(HAND_OVER, {"event": event, "text": text})


def slow_down(page: Page, bytes_a_second: int) -> None:
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1}
    limits["uploadThroughput"] = bytes_a_second
    session.send("Network.emulateNetworkConditions", limits)


def files_at_portal(stage: Stage, past: int = 0) -> list[dict[str, Any]]:
    """The files of the latest dialog, once there are more than the `past` ones."""
    dialogs = stage.state()["dialogs"][past:]
    if not dialogs:
        return []
    return [file for message in dialogs[-1]["messages"] for file in message["files"]]


def shown_size(page: Page) -> list[int]:
    """Width and height of the visitor's picture, once it comes from the server."""
    until(page, f"() => document.querySelector('{OWN} img[src*=\"type=file\"]')?.naturalWidth > 0")
    size: list[int] = page.evaluate(
        f"() => (({{naturalWidth, naturalHeight}}) => [naturalWidth, naturalHeight])"
        f"(document.querySelector('{OWN} img'))"
    )
    return size


@pytest.mark.firefox
def test_a_file_goes_to_the_desk_and_one_comes_back(
    stage: Stage, page: Page, context: BrowserContext
) -> None:
    page.locator("#name").fill("Anna")
    choose(page, ("garden plan.png", "image/png", PNG))
    assert shown_size(page) == [2, 2]

    desk = context.new_page()
    desk.goto(f"{stage.portal}/desk")
    desk.locator("[data-dialog]", has_text="Anna").first.click()
    picture = desk.locator('[data-message] img[alt="garden plan.png"]')
    picture.wait_for()
    until(desk, "() => document.querySelector('[data-message] img').naturalWidth === 2")
    desk.set_input_files("#file", [FilePayload(name="a.mp3", mimeType="audio/mpeg", buffer=b"ID3")])

    answer = page.locator("article.message.operator a")
    expect(answer).to_have_text("a.mp3 (3 B)")
    assert (answer.get_attribute("href") or "").startswith(f"{stage.portal}/~")


def test_sounds_and_films_play_in_place_and_what_cannot_be_shown_is_offered(
    stage: Stage, page: Page
) -> None:
    write(page, "Films, please")
    sound = base64.b64encode(silence()).decode()
    names = ["a.wav", "b.mp4", "no_film.mp4", "seen.png", "broken.jpg", "photo.HEIC", "old.tiff"]
    kinds = ["audio/wav", "video/mp4", "video/mp4", *["image/png"] * 4]
    contents = [sound, sound, PICTURE, PICTURE, sound, sound, PICTURE]
    files = [
        {"name": name, "type": kind, "content_base64": content}
        for name, kind, content in zip(names, kinds, contents, strict=True)
    ]
    lamp = f"{stage.portal}/static/lamp.svg"
    blocks = [{"IMAGE": {"NAME": "lamp", "LINK": f"{stage.portal}/none.png"}}, {"IMAGE": lamp}]
    stage.press(
        "answer", external_chat_id=chat_of(stage, "Films, please"), files=files, blocks=blocks
    )
    shows(page, ".bb-video", 2)
    play = "async (media) => await media.play().then(() => 'plays', (error) => error.name)"
    players = page.locator(".bb-audio, .bb-video").all()

    assert [player.evaluate(play) for player in players] == ["plays", "plays", "NotSupportedError"]

    for players_left in (1, 2):  # as it came, and when the page is loaded again
        shows(page, ".body .bb-file", 6)
        body = page.locator(".operator .body")
        expect(body.locator("img")).to_have_count(2)
        assert body.locator("a[href] .bb-file").all_inner_texts()[-4:] == [
            "no_film.mp4 (73 B)",
            "broken.jpg (8 KB)",
            "photo.HEIC (8 KB)",
            "old.tiff (73 B)",
        ]
        assert page.locator(".bb-video").count() == players_left
        page.reload()
        page.locator("live-chat[data-ready]").wait_for()


def test_a_short_cut_of_the_network_costs_no_player_and_a_wide_table_scrolls(
    stage: Stage, page: Page
) -> None:
    write(page, "Sound, please")
    content = base64.b64encode(silence()).decode()
    sound = {"name": "a.wav", "type": "audio/wav", "content_base64": content}
    cells = "".join(f"[td]Длинное {word}[/td]" for word in ("Товарищество", "Количество") * 3)
    chat = chat_of(stage, "Sound, please")
    table = f"[table][tr]{cells}[/tr][/table]"
    stage.press("answer", external_chat_id=chat, text=table, files=[sound])
    player, wide = page.locator(".bb-audio"), page.locator(".body table")
    player.wait_for()
    page.set_viewport_size({"width": 340, "height": 700})
    play = "async (media) => await media.play().then(() => 'plays', (error) => error.name)"

    page.context.set_offline(True)
    assert player.evaluate(play) != "plays"
    until(page, "() => document.querySelector('.bb-audio').error")
    page.context.set_offline(False)
    until(page, "() => !document.querySelector('.bb-audio').error")

    assert player.evaluate(play) == "plays"
    assert wide.evaluate("(table) => table.scrollWidth > table.clientWidth + 50")
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    line = "(cell) => cell.getBoundingClientRect().height"
    assert page.locator("td").first.evaluate(line) < 80, "words are whole"
    wide.focus()
    expect(wide).to_be_focused()


def test_texts_and_files_keep_the_order_in_which_they_were_sent(stage: Stage, page: Page) -> None:
    page.locator("#message").fill("one")
    page.locator("#message").press("Enter")
    choose(page, ("two.pdf", "application/pdf", b"%PDF" * 1000), ("three.txt", "text/plain", b"3"))
    page.locator("#message").fill("four")
    page.locator("#message").press("Enter")

    expect(page.locator(f"{OWN}[data-id]")).to_have_count(4)
    order = ["one", "two.pdf (4 KB)", "three.txt (1 B)", "four"]
    expect(page.locator(f"{OWN} .body")).to_have_text(order)
    page.reload()
    expect(page.locator(f"{OWN} .body")).to_have_text(order)


def test_a_dropped_picture_is_sent_and_the_place_to_drop_is_seen(page: Page) -> None:
    draw(page)
    hand_over(page, "dragover")
    expect(page.locator(".landing")).to_be_visible()

    hand_over(page, "drop")

    expect(page.locator(".landing")).to_be_hidden()
    assert shown_size(page) == [40, 30]


def test_a_pasted_picture_is_sent_but_not_the_one_that_comes_with_a_text(page: Page) -> None:
    draw(page)

    hand_over(page, "paste", text="cells of a table")
    expect(page.locator(OWN)).to_have_count(0)

    hand_over(page, "paste")
    assert shown_size(page) == [40, 30]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"width": 5120, "height": 2560, "type": "image/png"}, [2560, 1280]),
        ({"width": 4000, "height": 3000, "type": "image/jpeg", "orientation": 6}, [1920, 2560]),
    ],
)
def test_a_huge_picture_is_shrunk_and_stays_upright(
    stage: Stage, page: Page, given: dict[str, Any], shown: list[int]
) -> None:
    draw(page, **given)
    before = page.evaluate("() => window.drawn.size")
    past = len(stage.state()["dialogs"])  # other tests'

    hand_over(page, "drop")

    assert shown_size(page) == shown
    sent = wait_until(lambda: files_at_portal(stage, past))[-1]
    assert sent["name"].startswith("drawn.jp")
    assert sent["size"] < before


def test_a_picture_over_the_limit_chosen_in_a_tunnel_is_shrunk_and_sent(
    stage: Stage, context: BrowserContext, page: Page
) -> None:
    draw(page, width=5120, height=2560, type="image/png")
    page.evaluate(MAKE_HEAVY, LIMIT_BYTES)
    context.set_offline(True)
    hand_over(page, "drop")
    page.locator(f"{OWN} .reason").get_by_text("No connection").wait_for()

    context.set_offline(False)

    page.locator(f'{OWN}[data-state="delivered"]').wait_for()
    assert shown_size(page) == [2560, 1280]


@pytest.mark.firefox
def test_what_may_not_be_sent_says_so_at_once_and_nothing_is_uploaded(page: Page) -> None:
    posts: list[str] = []
    page.on("request", lambda request: posts.append(request.method))
    limits = page.locator(".clip").get_attribute("title") or ""
    assert "20 MB" in limits
    assert "pdf" in limits

    page.evaluate("() => { window.drawn = new File([new Uint8Array((20 << 20) + 1)], 'film.mp4') }")
    hand_over(page, "drop")
    choose(page, ("run.exe", "application/x-msdownload", b"MZ"))

    reasons = page.locator(f'{OWN}[data-state="refused"] .reason')
    expect(reasons).to_have_count(2)
    expect(reasons.nth(0)).to_contain_text("at most 20 MB")
    expect(reasons.nth(1)).to_contain_text("Possible are: png, jpg")
    reasons.nth(0).get_by_role("button", name="Remove").click()
    reasons.nth(0).get_by_role("button", name="Remove").click()
    expect(page.locator(OWN)).to_have_count(0)
    assert "POST" not in posts


def test_a_picture_under_a_wrong_name_is_sent_under_the_right_one(stage: Stage, page: Page) -> None:
    past = len(stage.state()["dialogs"])  # other tests'
    files: list[FilePayload] = [
        {"name": name, "mimeType": kind, "buffer": PNG}
        for name, kind in (("1000012345", ""), ("IMG_1.HEIC", "image/heic"), ("a.b.jpg", ""))
    ]

    page.locator(".clip input").set_input_files(files)

    wait_until(lambda: len(files_at_portal(stage, past)) == 3)
    sent = files_at_portal(stage, past)
    assert [file["name"] for file in sent] == ["1000012345.png", "IMG_1.png", "a.b.png"]
    expect(page.locator(f"{OWN} img")).to_have_count(3)
    assert ".heic" not in (page.locator(".clip input").get_attribute("accept") or "")


def test_on_touch_the_limits_are_seen_before_the_choice(stage: Stage, browser: Browser) -> None:
    for touch in (True, False):
        context = browser.new_context(
            locale="en-GB", viewport={"width": 375, "height": 667}, has_touch=touch, is_mobile=touch
        )
        page = context.new_page()
        page.goto(f"{stage.chat}/")
        limits = page.locator(".limits")
        expect(limits).to_have_text(re.compile("^Files up to 20 MB: png, jpg, .*webm.$"))
        if touch:
            for text in ("before the first message", "and after"):
                box, clip = limits.bounding_box(), page.locator(".clip").bounding_box()
                assert box, text
                assert clip, text
                assert 12 < box["height"] < 24  # one line
                assert box["width"] > 200
                assert box["y"] + box["height"] <= clip["y"] + 1
                page.locator("#message").fill(text)
                page.locator(".send").click()
                page.locator(f"{OWN}[data-id]", has_text=text).wait_for()
        else:
            expect(limits).to_be_hidden()  # there the clip says it to whoever points at it
        context.close()


def test_leaving_is_asked_about_while_a_file_is_on_its_way(page: Page) -> None:
    asked: list[str] = []

    def answer(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", answer)
    slow_down(page, 100_000)
    choose(page, ("film.mp4", "video/mp4", b"x" * (4 << 20)))
    page.locator("progress").wait_for()
    page.locator(".log").click()  # browsers ask only whoever has touched the page

    page.evaluate("() => { setTimeout(() => location.reload()) }")
    while asked != ["beforeunload"]:
        page.wait_for_timeout(50)
    expect(page.locator("progress")).to_be_visible()

    page.get_by_role("button", name="Cancel").click()
    page.locator("#message").fill("Texts are kept")
    page.context.set_offline(True)
    page.locator("#message").press("Enter")
    page.context.set_offline(False)
    page.reload()
    expect(page.locator(OWN)).to_have_text(re.compile("Texts are kept"))
    assert asked == ["beforeunload"]


def refused(stage: Stage, page: Page, text: str) -> Locator:
    """A message that the portal refuses, also when it is sent again; its button "Try again"."""
    stage.trouble(fail_items=text)
    page.locator("#message").fill(text)
    page.locator("#message").press("Enter")
    again = page.get_by_role("button", name="Try again")
    expect(again).to_be_visible()
    return again


def test_what_was_sent_again_goes_once_whatever_tab_asks(
    stage: Stage, page: Page, context: BrowserContext
) -> None:
    again = refused(stage, page, "twice?")
    other = context.new_page()
    other.goto(f"{stage.chat}/")
    other_again = other.get_by_role("button", name="Try again")
    expect(other_again).to_be_visible()
    requests.delete(f"{stage.portal}/sandbox/trouble", timeout=30)

    # Pressed in two tabs before either hears of the other.
    held: list[Route] = []
    waiting = True
    context.route("**/ajax", lambda route: held.append(route) if waiting else route.continue_())
    again.click()
    other_again.click()
    while len(held) < 2:
        page.wait_for_timeout(20)
    waiting = False
    for route in held:
        route.continue_()

    for tab in (page, other):
        expect(tab.locator(f'{OWN}[data-state="delivered"]')).to_have_count(1)
        expect(tab.locator(OWN)).to_have_count(1)
    kept = stage.state()["dialogs"][-1]["messages"]
    assert [one["text"] for one in kept].count("twice?") == 1
    page.reload()
    expect(page.locator(f'{OWN}[data-state="delivered"]')).to_have_count(1)
    expect(again).to_have_count(0)


def test_a_try_that_does_not_reach_the_server_can_be_made_again(stage: Stage, page: Page) -> None:
    again = refused(stage, page, "unheard")
    requests.delete(f"{stage.portal}/sandbox/trouble", timeout=30)

    page.route("**/ajax", lambda route: route.abort())
    again.click()
    expect(again).to_be_enabled()
    page.unroute("**/ajax")
    again.click()

    expect(page.locator(f'{OWN}[data-state="delivered"]')).to_have_count(1)


def test_an_answer_to_a_try_that_comes_late_hides_nothing_newer(stage: Stage, page: Page) -> None:
    """The stream may tell that the message is delivered before the answer tells that it waits."""
    again = refused(stage, page, "belated")
    requests.delete(f"{stage.portal}/sandbox/trouble", timeout=30)
    held: list[tuple[Route, APIResponse]] = []

    def hold(route: Route) -> None:
        if is_retry(route.request):
            held.append((route, route.fetch()))
        else:
            route.continue_()

    page.route("**/ajax", hold)
    again.click()
    delivered = page.locator(f'{OWN}[data-state="delivered"]')
    expect(delivered).to_have_count(1)
    ((route, answer),) = held
    assert answer.json()["result"]["state"] == "stored"
    with page.expect_response(lambda response: is_retry(response.request)):
        route.fulfill(response=answer)
    page.wait_for_timeout(200)

    expect(delivered).to_have_count(1)
    expect(again).to_have_count(0)


def is_retry(request: Request) -> bool:
    return "retry_message" in (request.post_data or "")


def test_what_is_refused_twice_can_be_sent_a_third_time(stage: Stage, page: Page) -> None:
    again = refused(stage, page, "thrice")
    for count in (1, 2):
        expect(again).to_be_enabled()
        assert len(stage.calls("imconnector.send.messages")) >= count
        page.reload()
        expect(again).to_have_count(1)
        if count == 2:
            requests.delete(f"{stage.portal}/sandbox/trouble", timeout=30)
        # A reload would end a request that is under way.
        with page.expect_response(lambda response: is_retry(response.request)):
            again.click()

    expect(page.locator(f'{OWN}[data-state="delivered"]')).to_have_count(1)
    expect(page.locator(OWN)).to_have_count(1)
    expect(again).to_have_count(0)


def test_a_file_that_bitrix24_refused_can_be_sent_again(stage: Stage, page: Page) -> None:
    stage.trouble(no_files=True, fail_items="refused.png")
    choose(page, ("refused.png", "image/png", PNG))
    expect(page.locator(f'{OWN}[data-state="refused"]')).to_be_visible()
    requests.delete(f"{stage.portal}/sandbox/trouble", timeout=30)

    page.get_by_role("button", name="Try again").click()

    expect(page.locator(f'{OWN}[data-state="delivered"]')).to_be_visible()
    [file] = files_at_portal(stage)
    assert file["name"] == "refused.png"
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)


def test_a_saved_conversation_holds_the_visitors_pictures(
    stage: Stage, page: Page, context: BrowserContext
) -> None:
    choose(page, ("mine & yours.png", "image/png", PNG))
    expect(page.locator(f'{OWN}[data-state="delivered"]')).to_be_visible()

    page.locator(".more").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save my conversation").click()

    saved = context.new_page()
    saved.route("http*://**", lambda route: route.abort())
    saved.set_content(Path(download.value.path()).read_text("utf-8"))
    until(saved, "() => document.querySelector('img')?.naturalWidth > 0")


def test_progress_is_seen_and_an_upload_can_be_cancelled(stage: Stage, page: Page) -> None:
    slow_down(page, 200_000)
    choose(page, ("film.mp4", "video/mp4", b"x" * (4 << 20)))

    expect(page.locator(f"{OWN} .body")).to_have_text("film.mp4 (4 MB)")
    expect(page.locator(OWN)).to_contain_text("Keep this page open")
    until(page, "() => document.querySelector('progress')?.position > 0.02")
    page.get_by_role("button", name="Cancel").click()
    arriving = stage.folder / "chats/files/arriving"
    wait_until(lambda: list(arriving.iterdir()) == [], why="nothing left on the disk")
    slow_down(page, -1)
    page.locator("#message").fill("I will not send it")
    page.locator("#message").press("Enter")

    expect(page.locator(f"{OWN}[data-id] .body")).to_have_text("I will not send it")
    expect(page.locator(OWN)).to_have_count(1)


def test_an_upload_that_failed_is_sent_again_once(stage: Stage, page: Page) -> None:
    page.context.set_offline(True)
    choose(page, ("price.pdf", "application/pdf", b"%PDF"))
    expect(page.locator(f'{OWN}[data-state="waiting"]')).to_contain_text("No connection")

    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").or_(page.locator(".tick")).first.click()

    expect(page.locator(f"{OWN}[data-id]")).to_have_count(1)
    wait_until(lambda: [one["name"] for one in files_at_portal(stage)] == ["price.pdf"])


def test_the_file_button_is_reached_by_keyboard_and_named(page: Page) -> None:
    page.locator("#message").focus()
    page.keyboard.press("Shift+Tab")

    button = page.get_by_role("button", name="Send a file", exact=True)
    expect(button).to_be_focused()
    box = page.locator(".clip").bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) >= 44


def test_a_file_can_be_sent_without_javascript(stage: Stage, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 320, "height": 640})
    page = context.new_page()
    page.goto(f"{stage.chat}/")

    page.set_input_files(
        ".upload input[type=file]",
        [FilePayload(name="без скриптов.pdf", mimeType="application/pdf", buffer=b"%PDF")],
    )
    page.get_by_role("button", name="Send a file").click()

    expect(page.locator("article.message .body a")).to_have_text("без скриптов.pdf (4 B)")
    assert page.url == f"{stage.chat}/"
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 320
    context.close()
