"""One conversation in all tabs of a site, without cookies and where a frame may store nothing."""

import time

from embed_parts import NO_STORAGE, Open, Site, chat_in, say
from pages import until
from playwright.sync_api import expect
from stage import Stage, wait_until
from test_browser import dialog_of


def test_the_history_survives_blocked_cookies_and_frame_storage(
    stage: Stage, shop: Site, opened: Open
) -> None:
    urls: list[str] = []
    page = opened(f"{shop.origin}/checkout?card=private#secret", NO_STORAGE)
    page.on("request", lambda request: urls.append(request.url))
    page.get_by_role("button", name="Chat").click()
    say(page, "no cookies here")
    page.evaluate("() => SiteChat.close()")
    chat = dialog_of(stage, "no cookies here")
    stage.press("answer", external_chat_id=chat, text="nor needed")

    page.context.clear_cookies()  # over HTTPS the frame may have one, unlike over HTTP
    page.reload()

    until(page, "() => document.title === '(1) Shop'")  # a conversation goes on
    page.get_by_role("button", name="New messages: 1").click()
    expect(chat_in(page).locator("article .body")).to_have_text(["no cookies here", "nor needed"])
    until(page, "() => document.title === 'Shop'")
    say(page, "the same chat")
    assert stage.chat.startswith("https:") or page.context.cookies() == []
    wait_until(lambda: len(stage.texts(chat)) == 2)
    token = page.evaluate("() => JSON.parse(Object.values(localStorage)[0]).token")
    assert token
    assert not any(token in url for url in urls)
    sent = str(stage.calls("imconnector.send.messages"))
    assert f"{shop.origin}/checkout" in sent
    assert "private" not in sent  # a word: digits may stand in any id or time by chance


def test_reading_lets_the_sites_token_live_on_and_counts_nothing_as_seen(
    stage: Stage, shop: Site, opened: Open
) -> None:
    page = opened(f"{shop.origin}/")
    page.evaluate("() => SiteChat.open()")
    say(page, "from a reader")
    chat = dialog_of(stage, "from a reader")
    kept = "() => JSON.parse(Object.values(localStorage)[0])"
    stage.press("answer", external_chat_id=chat, text="seen")
    answer = chat_in(page).locator("article.operator")
    until(page, f"(id) => ({kept})().seen === Number(id)", arg=answer.get_attribute("data-id"))
    before = page.evaluate(kept)
    page.goto("about:blank")
    stage.press("answer", external_chat_id=chat, text="unread")
    wait_until(lambda: stage.dialog(chat)["messages"][-1]["delivered"])
    time.sleep(1)  # a token's date has seconds

    page.goto(f"{shop.origin}/")

    until(page, "() => document.title === '(1) Shop'")
    until(page, f"(token) => ({kept})().token !== token", arg=before["token"])
    after = page.evaluate(kept)
    assert {**after, "token": ""} == {**before, "token": ""}


def test_one_tab_of_all_rings_and_none_where_the_chat_is_watched(
    stage: Stage, shop: Site, opened: Open
) -> None:
    hidden = "if (window === parent) Object.defineProperty(document, 'hidden', {get: () => true})"
    first = opened(f"{shop.origin}/", hidden)
    first.evaluate("() => SiteChat.open()")
    say(first, "Will it ring?")
    chat_in(first).locator("[name=alerts]").click()
    wait_until(lambda: chat_in(first).evaluate("() => rung") == 2)  # the opt-in's own two notes
    tabs = [first, first.context.new_page(), first.context.new_page()]
    for tab in tabs[1:]:
        tab.goto(f"{shop.origin}/")
        until(tab, "() => window.SiteChat?.open")
        tab.evaluate("() => SiteChat.open()")
        chat_in(tab)
        tab.evaluate("() => SiteChat.close()")
    chat = dialog_of(stage, "Will it ring?")

    stage.press("answer", external_chat_id=chat, text="You watch me.")
    for tab in tabs:
        tab.frames[-1].locator("article", has_text="You watch me.").wait_for(state="attached")
    first.wait_for_timeout(1500)
    assert [tab.frames[-1].evaluate("() => rung") for tab in tabs] == [2, 0, 0]
    first.evaluate("() => SiteChat.close()")
    stage.press("answer", external_chat_id=chat, text="You do not.")
    for tab in tabs:
        tab.frames[-1].locator("article", has_text="You do not.").wait_for(state="attached")
    first.wait_for_timeout(1500)
    assert sum(tab.frames[-1].evaluate("() => rung") for tab in tabs) == 2 + 2


def test_tabs_without_the_loader_leave_each_other_alone(
    stage: Stage, shop: Site, opened: Open
) -> None:
    """Without cookies each remembers a visitor of its own."""
    page = opened(f"{shop.origin}/")
    tab = page.context.new_page()
    tab.goto(f"{shop.origin}/")
    frame = f"() => {{ const it = document.createElement('iframe'); it.src = '{stage.chat}/';"
    for one in (page, tab):
        one.evaluate(f"{frame} document.body.append(it) }}")
    for one, text in ((page, "from one tab"), (tab, "from the other")):
        say(one, text)
    for text in ("from one tab", "from the other"):
        stage.press("answer", external_chat_id=dialog_of(stage, text), text=f"heard {text}")

    for one, text in ((page, "from one tab"), (tab, "from the other")):
        bodies = chat_in(one).locator("article .body")
        expect(bodies).to_have_text([text, f"heard {text}"])
        for _ in range(30):  # and so it stays
            page.wait_for_timeout(100)
            assert bodies.all_inner_texts() == [text, f"heard {text}"]


def test_a_frame_without_the_loader_remembers_while_it_is_open(
    stage: Stage, shop: Site, opened: Open
) -> None:
    page = opened(f"{shop.origin}/", NO_STORAGE)
    frame = f"() => {{ const it = document.createElement('iframe'); it.src = '{stage.chat}/';"
    page.evaluate(f"{frame} document.body.append(it) }}")

    say(page, "framed by hand")
    say(page, "one dialog")

    chat = dialog_of(stage, "framed by hand")
    wait_until(lambda: stage.texts(chat) == ["framed by hand", "one dialog"])


def test_a_second_tab_continues_the_first_ones_chat(stage: Stage, shop: Site, opened: Open) -> None:
    first = opened(f"{shop.origin}/", NO_STORAGE)
    second = first.context.new_page()
    second.goto(f"{shop.origin}/")
    for tab in (first, second):
        tab.evaluate("() => SiteChat.open()")
        chat_in(tab)

    say(first, "in the first tab")

    expect(chat_in(second).locator("article .body")).to_have_text("in the first tab")
    say(second, "in the second")
    chat = dialog_of(stage, "in the first tab")
    wait_until(lambda: stage.texts(chat) == ["in the first tab", "in the second"])

    first.evaluate("() => SiteChat.reset()")

    for tab in (first, second):
        expect(chat_in(tab).locator("article")).to_have_count(0)
    until(second, "() => localStorage.length === 0")
