"""Customers whom the site signs for: their conversation on every device, and until the log-out."""

import json
import time
from collections.abc import Callable

import pytest
from embed_parts import Open, Site, chat_in, customer, delete_conversation, leave_unsent, say
from pages import until
from playwright.sync_api import Page, Route, expect
from stage import Stage, wait_until
from test_browser import dialog_of
from test_embed_visitors import signed

KEPT = """() => [...Object.keys(localStorage), ...Object.keys(sessionStorage)]
  .filter((key) => key.startsWith("chat "))"""


def test_a_customer_has_the_history_everywhere_until_logging_out(
    stage: Stage, shop: Site, opened: Open
) -> None:
    email = "olga@example.com"
    who = {"name": "Olga", "email": email, "signature": signed(shop.origin, email)}
    queue = f'window.SiteChat ??= [["identify", {json.dumps(who)}], ["open"]]'
    phone = opened(f"{shop.origin}/", queue)
    chat_in(phone)
    assert phone.evaluate("() => localStorage.length") == 0
    say(phone, "from my phone")
    laptop = opened(f"{shop.origin}/")
    laptop.evaluate("() => SiteChat.open()")
    say(laptop, "not known yet")

    laptop.evaluate("(who) => SiteChat.identify(who)", {**who, "signature": "0" * 64})
    until(laptop, "() => told.some(([name, what]) => name === 'error')")
    expect(chat_in(laptop).locator("article .body")).to_have_text("not known yet")
    laptop.evaluate("(who) => SiteChat.identify(who)", who)

    until(laptop, "() => told.some(([name]) => name === 'identify')")
    expect(chat_in(laptop).locator("article .body")).to_have_text(
        ["from my phone", "not known yet"]
    )
    expect(chat_in(laptop).locator(".who")).to_contain_text("Olga")

    say(laptop, "and from here")
    laptop.evaluate("() => SiteChat.reset()")

    until(laptop, "() => localStorage.length === 0")
    expect(chat_in(laptop).locator(".welcome")).to_be_visible()
    expect(chat_in(laptop).locator("article")).to_have_count(0)


@pytest.mark.parametrize("frame", ["open", "not loaded yet"])
def test_after_a_reset_nothing_is_left_in_the_frame(
    stage: Stage, shop: Site, visit: Open, frame: str
) -> None:
    page = visit()
    chat_in(page).locator("#name").fill("Klara")
    say(page, "Klara's")
    leave_unsent(page, "Klara's unsent")
    assert len(chat_in(page).evaluate(KEPT)) == 4  # name, what is unsent, draft, that it has begun

    if frame == "open":
        page.evaluate("() => SiteChat.reset()")
    else:
        page.add_init_script("window.SiteChat = [['reset'], ['open']]")
        page.reload()

    until(page, "() => localStorage.length === 0")
    expect(chat_in(page).locator(".welcome")).to_be_visible()
    expect(chat_in(page).locator("#message")).to_have_value("")
    expect(chat_in(page).locator("#name")).to_have_value("")
    assert chat_in(page).evaluate(KEPT) == []
    page.context.unroute("**/ajax*")
    say(page, "Nobody's")
    assert "Klara's unsent" not in str(stage.state())


@pytest.mark.parametrize("server", ["refuses", "hangs"])
def test_a_reset_takes_the_conversation_away_though_the_server_is_down(
    stage: Stage, shop: Site, visit: Open, server: str
) -> None:
    page = visit()
    say(page, f"not for everyone, {server}")
    frame = page.frame_locator("iframe")
    hang: Callable[[Route], None] = lambda route: None  # noqa: E731
    handler = (lambda route: route.abort()) if server == "refuses" else hang
    page.context.route(f"{stage.chat}/**", handler)

    page.evaluate("() => SiteChat.reset()")

    expect(frame.locator("article")).to_have_count(0, timeout=5_000)
    expect(page.locator("iframe")).to_have_css("opacity", "0")
    page.context.unroute(f"{stage.chat}/**")
    expect(chat_in(page).locator(".welcome")).to_be_visible()
    until(page, "() => localStorage.length === 0")
    expect(frame.locator("article")).to_have_count(0)


def tokens_sent(page: Page) -> set[str]:
    """The tokens that the page's requests carry; filled as they come."""
    tokens: set[str] = set()
    page.context.on("request", lambda request: tokens.add(request.headers.get("x-chat-token", "")))
    return tokens


@pytest.mark.parametrize("has_written", [True, False])
def test_a_log_out_ends_the_customers_tokens_on_the_server(
    stage: Stage, shop: Site, visit: Open, has_written: bool
) -> None:
    who = customer(shop, f"Lena-{has_written}")
    phone = visit(who)
    say(phone, "Lena's")
    laptop = visit()
    tokens = tokens_sent(laptop)
    laptop.evaluate("(who) => SiteChat.identify(who)", who)
    expect(chat_in(laptop).locator("article .body")).to_have_text("Lena's")
    if has_written:
        say(laptop, "from the laptop")

    laptop.evaluate("() => SiteChat.reset()")

    expect(chat_in(laptop).locator(".welcome")).to_be_visible()
    until(laptop, "() => localStorage.length === 0")
    tokens.discard("")
    assert tokens
    assert [history_by(stage, shop, token) for token in sorted(tokens)] == [""] * len(tokens)
    say(phone, "still here")
    expect(chat_in(phone).locator("article .body").last).to_have_text("still here")


def history_by(stage: Stage, shop: Site, token: str) -> str:
    """What whoever has this token reads."""
    headers = {"X-Chat-Site": shop.origin, "X-Chat-Token": token}
    answer = stage.visitor().http.post(
        f"{stage.chat}/ajax", {"type": "chat_history"}, headers=headers, timeout=30
    )
    assert answer.status_code == 200
    return answer.text


def test_the_server_hears_later_of_a_log_out_that_it_missed(
    stage: Stage, shop: Site, visit: Open
) -> None:
    page = visit(customer(shop, "Mona"))
    tokens = tokens_sent(page)
    say(page, "Mona's")
    page.context.route(f"{stage.chat}/ajax*", lambda route: route.abort())
    page.evaluate("() => SiteChat.reset()")
    expect(page.frame_locator("iframe").locator("article")).to_have_count(0)
    page.goto("about:blank")  # a request that is held when its page is closed goes on
    page.close()
    tokens.discard("")
    assert any("Mona" in history_by(stage, shop, token) for token in tokens)
    page.context.unroute(f"{stage.chat}/ajax*")

    later = page.context.new_page()
    later.goto(f"{shop.origin}/")  # nobody opens the chat

    until(later, "() => localStorage.length === 0")
    assert not any(history_by(stage, shop, token) for token in tokens)
    later.evaluate("() => SiteChat.open()")
    expect(chat_in(later).locator(".welcome")).to_be_visible()
    expect(chat_in(later).locator("article")).to_have_count(0)


def test_a_signature_that_has_ended_is_explained_to_the_site(
    stage: Stage, shop: Site, visit: Open
) -> None:
    page = visit()
    email, expires = "nora@example.com", int(time.time()) + 600
    who = {"email": email, "signature": signed(shop.origin, f"{email} {expires}"), "until": expires}
    old = {**who, "signature": signed(shop.origin, f"{email} 1700000000"), "until": 1_700_000_000}

    page.evaluate("(who) => SiteChat.identify(who)", old)
    until(page, "() => told.some(([name]) => name === 'error')")
    page.evaluate("(who) => SiteChat.identify(who)", who)

    until(page, "() => told.some(([name]) => name === 'identify')")
    (error,) = [what for name, what in page.evaluate("() => told") if name == "error"]
    assert error["code"] == "identify"
    assert "2023-11-14 22:13:20 UTC" in error["message"]


@pytest.mark.parametrize("way", ["on the same page", "on another", "after a deletion"])
def test_what_a_customer_left_unsent_is_not_for_the_next(
    stage: Stage, shop: Site, visit: Open, way: str
) -> None:
    fred, gina = (customer(shop, f"{name} {way}".replace(" ", "-")) for name in ("Fred", "Gina"))
    page = visit(fred)
    say(page, f"Fred's, {way}")
    if way == "after a deletion":
        delete_conversation(page)
    leave_unsent(page, "Fred's unsent")

    if way == "on the same page":
        page.evaluate("(who) => SiteChat.identify(who)", gina)
    else:
        page = visit(gina, beside=page)

    expect(page.frame_locator("iframe").locator(".who b")).to_have_text(gina["name"])
    expect(chat_in(page).locator("article")).to_have_count(0)
    expect(chat_in(page).locator("#message")).to_have_value("")
    page.context.unroute("**/ajax*")
    say(page, f"Gina's, {way}")
    chat = dialog_of(stage, f"Gina's, {way}")
    assert stage.dialog(chat)["user_name"].startswith("Gina")
    assert stage.texts(chat) == [f"Gina's, {way}"]
    for dialog in stage.state()["dialogs"]:  # his own tab may still send it, in his own chat
        if "Fred's unsent" in str(dialog):
            assert dialog["user_name"].startswith("Fred")


def test_who_turns_out_to_be_a_customer_keeps_what_is_unsent(
    stage: Stage, shop: Site, visit: Open
) -> None:
    page = visit()
    chat_in(page).locator("#name").fill("Heinz")
    leave_unsent(page, "Not known yet")

    page.evaluate("(who) => SiteChat.identify(who)", customer(shop, "Henry"))

    until(page, "() => told.some(([name]) => name === 'identify')")
    page.context.unroute("**/ajax*")
    dialog_of(stage, "Not known yet")
    expect(chat_in(page).locator("#message")).to_have_value("draft of Not known yet")
    expect(chat_in(page).locator(".who b")).to_have_text("Heinz")
    assert "henry@example.com" in str(stage.calls("imconnector.send.messages"))


def test_who_logs_in_goes_on_with_the_same_operator_in_every_tab(
    stage: Stage, shop: Site, visit: Open
) -> None:
    page = visit()
    say(page, "before I logged in")
    chat = dialog_of(stage, "before I logged in")
    tab = visit(beside=page)
    bodies = [chat_in(one).locator("article .body") for one in (tab, page)]
    expect(bodies[0]).to_have_text(["before I logged in"])

    page.evaluate("(who) => SiteChat.identify(who)", customer(shop, "Iris"))
    stage.press("answer", external_chat_id=chat, text="Welcome")

    for one in (tab, page):
        expect(chat_in(one).locator("article .body")).to_have_text(
            ["before I logged in", "Welcome"]
        )
    say(page, "and after")
    wait_until(lambda: stage.texts(chat) == ["before I logged in", "and after"])
    phone = visit(customer(shop, "Iris"))
    expect(chat_in(phone).locator("article")).to_have_count(3)


def test_a_customer_without_history_is_live_on_every_device(
    stage: Stage, shop: Site, visit: Open
) -> None:
    who = customer(shop, "Emil")
    phone, laptop = visit(who), visit(who)

    say(laptop, "from the laptop")
    stage.press("answer", external_chat_id=dialog_of(stage, "from the laptop"), text="to both")

    for page in (laptop, phone):
        expect(chat_in(page).locator("article .body")).to_have_text(["from the laptop", "to both"])


@pytest.mark.parametrize("state", ["listening", "offline"])
def test_what_is_deleted_on_one_device_goes_from_the_others_too(
    stage: Stage, shop: Site, visit: Open, state: str
) -> None:
    who = customer(shop, f"Ida-{state}")
    phone, laptop = visit(who), visit(who)
    tab = visit(who, beside=laptop)
    say(phone, "to be deleted")
    for page in (laptop, tab):
        expect(chat_in(page).locator("article .body")).to_have_text("to be deleted")
    chat_in(laptop).locator("#message").fill("not finished")
    if state == "offline":
        laptop.context.set_offline(True)

    delete_conversation(phone)
    say(phone, "a new one")

    if state == "offline":
        laptop.context.set_offline(False)
    for page in (laptop, tab, phone):
        expect(chat_in(page).locator("article .body")).to_have_text("a new one")
    expect(chat_in(laptop).locator("#message")).to_have_value("not finished")
    say(laptop, "and here")
    expect(chat_in(phone).locator("article .body")).to_have_text(["a new one", "and here"])


def test_a_page_that_another_device_emptied_says_so(stage: Stage, shop: Site, visit: Open) -> None:
    who = customer(shop, "Jan")
    phone, laptop = visit(who), visit(who)
    say(phone, "to be deleted")
    expect(chat_in(laptop).locator("article")).to_have_count(1)

    delete_conversation(phone)

    expect(chat_in(laptop).locator(".welcome")).to_be_visible()
    expect(chat_in(laptop).locator(".status")).to_have_text("Your conversation is deleted")


@pytest.mark.parametrize("status", [200, 403, 503])
def test_a_wall_before_log_in_and_history_only_delays_them(
    stage: Stage, shop: Site, visit: Open, status: int
) -> None:
    """A firewall's page is neither a refusal of the signature nor a history."""
    page = visit(customer(shop, f"Vera{status}"))
    say(page, "before the wall")
    challenge = '<script>1</script><article class="message operator">no message</article>'
    page.context.route(
        f"{stage.chat}/ajax*",
        lambda route: route.fulfill(status=status, content_type="text/html", body=challenge),
    )
    page.reload()
    frame = page.frame_locator("iframe")
    expect(frame.locator('[data-connection="reconnecting"]')).to_be_visible()
    page.context.unroute(f"{stage.chat}/ajax*")

    expect(chat_in(page).locator("article .body")).to_have_text("before the wall")
    names = page.evaluate("() => told.map(([name]) => name)")
    assert "identify" in names
    assert "error" not in names
    expect(frame.locator("article.operator")).to_have_count(0)
