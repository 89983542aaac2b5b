"""Proof that the watch of the other tests here sees a script, and that two defences hold alone."""

import pytest
from stage import Stage
from xss_parts import AUDIT, PROVOKE, Watch, open_chat

PLANTS = {
    "a script": "<script>xss()</script>",
    "a handler": "<img src=x onerror=xss()>",
    "a link": "<div class=log><a href='javascript:xss()'>x</a></div>",
    "a link to a new window": "<div class=log><a target=_blank href='javascript:xss()'>x</a></div>",
    "a hover": "<div class=log><b onmouseover=xss()>x</b></div>",
    "a focus": "<div class=log><b tabindex=0 onfocus=xss()>x</b></div>",
    "a dialog": "<script>alert(1)</script>",
    "a frame": "<iframe srcdoc='<script>xss()</script>'></iframe>",
    "an animation": "<svg><animate onbegin=xss() attributeName=x dur=1s></svg>",
}


@pytest.mark.parametrize("name", PLANTS)
def test_the_watch_sees_a_script(stage: Stage, watch: Watch, name: str) -> None:
    plant(watch, f"{stage.chat}/planted", PLANTS[name])

    watch.page.evaluate(PROVOKE, 100)

    wait_for_seen(watch, 1)


def test_the_watch_sees_popups_other_hosts_and_reports(stage: Stage, watch: Watch) -> None:
    policy = {"Content-Security-Policy": "default-src 'none'"}
    plant(
        watch,
        f"{stage.chat}/planted",
        "<script src=//evil.invalid/x></script><script>open('')</script>",
    )
    plant(watch, f"{stage.chat}/guarded", "<script>xss()</script>", policy)

    assert {kind for kind, _ in watch.seen} == {"request", "popup", "report", "console"}


def test_the_audit_sees_what_may_not_stand_in_a_bubble(stage: Stage, watch: Watch) -> None:
    plant(
        watch,
        f"{stage.chat}/planted",
        "<p class=body><b>x</b><a href='data:x'>x</a><em onclick=x></em><i style=x:y></i></p>",
    )

    faults = watch.page.evaluate(AUDIT)["faults"]

    assert {"<B> in a bubble", "A href=data:x", "EM onclick=x"} <= set(faults)


def plant(watch: Watch, url: str, body: str, headers: dict[str, str] | None = None) -> None:
    watch.page.route(
        url, lambda route: route.fulfill(content_type="text/html", body=body, headers=headers or {})
    )
    watch.page.goto(url)
    watch.page.wait_for_timeout(50)


def wait_for_seen(watch: Watch, times: int) -> None:
    for _ in range(100):
        if watch.count("ran") >= times:
            return
        watch.page.wait_for_timeout(30)
    raise AssertionError(watch.seen)


PUT = "html => { document.querySelector('.list').innerHTML += html }"


def test_the_policy_alone_would_stop_a_script_in_the_chat(stage: Stage, watch: Watch) -> None:
    open_chat(watch, stage, stage.visitor())

    watch.page.evaluate(PUT, '<img src="x" onerror="xss()"><a href="javascript:xss()">x</a>')
    watch.page.evaluate(PROVOKE, 100)

    assert watch.count("ran") == 0
    assert watch.count("report") >= 2


def test_without_parser_and_policy_it_would_run(stage: Stage, unprotected: Watch) -> None:
    open_chat(unprotected, stage, stage.visitor())

    unprotected.page.evaluate(PUT, '<img src="x" onerror="xss()"><a href="javascript:xss()">x</a>')
    unprotected.page.evaluate(PROVOKE, 100)

    wait_for_seen(unprotected, 2)
