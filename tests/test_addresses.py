"""The one form of an address, the form that people read, and whose pages may embed the chat."""

import json
import re
from pathlib import Path

import pytest
from flask import Flask

from addresses import (
    both_forms,
    is_listed,
    is_loopback,
    origin_of,
    policy_source,
    readable,
    site,
    web_address,
)
from app import create_app
from services import Services
from settings import Bitrix24Settings, ChatSettings, Settings, StorageSettings
from store.records import Portal

LAMPS = "xn--80avem4d.xn--p1ai"  # лампы.рф


@pytest.mark.parametrize(
    ("given", "one_form"),
    [
        ("https://лампы.рф", f"https://{LAMPS}"),
        ("https://ЛАМПЫ.РФ/", f"https://{LAMPS}"),
        ("HTTPS://Лампы。рф.:443", f"https://{LAMPS}"),  # an ideographic dot
        ("https://XN--80AVEM4D.xn--P1ai:8443", f"https://{LAMPS}:8443"),
        ("https://%D0%BB%D0%B0%D0%BC%D0%BF%D1%8B.рф", f"https://{LAMPS}"),
        ("https://ｌａｍｐｓ．example", "https://lamps.example"),  # full width
        ("https://faß.example", "https://xn--fa-hia.example"),  # as all browsers now
        ("https://BÜCHER.example", "https://xn--bcher-kva.example"),
        ("https://i\u2764.ws", "https://xn--i-7iq.ws"),
        ("https://💩.la", "https://xn--ls8h.la"),
        ("https://xn--ls8h.la", "https://xn--ls8h.la"),
        ("https://my_shop.example", "https://my_shop.example"),
        ("https://сайт_1.рф", "https://xn--_1-6kc0bzbi.xn--p1ai"),
        ("https://r3---sn-abc.example", "https://r3---sn-abc.example"),
        ("https://क्\u200cष.example", "https://xn--11b2ezcs70k.example"),  # a joiner in its place
        ("https://shop.example.", "https://shop.example"),
        ("https://192.0.2.1:443", "https://192.0.2.1"),
        ("https://[2001:DB8:0:0::1]", "https://[2001:db8::1]"),
        ("https://[::ffff:192.0.2.1]:8443", "https://[::ffff:c000:201]:8443"),
        ("http://[0:0:0:0:0:0:0:1]:80/", "http://[::1]"),
        ("http://LOCALHOST:8080", "http://localhost:8080"),
        ("https://a.example:", "https://a.example"),
        ("https://a.example:08443", "https://a.example:8443"),
        ("https://a.example/Чат/", "https://a.example/%D0%A7%D0%B0%D1%82"),
        ("https://a.example/%d0%a7%61 b", "https://a.example/%D0%A7a%20b"),
        ("https://a.example/a+b;c=1@d", "https://a.example/a+b;c=1@d"),
        ("https://intranet:8443/portal", "https://intranet:8443/portal"),
    ],
)
def test_an_address_is_brought_into_the_form_that_browsers_send(given: str, one_form: str) -> None:
    assert web_address(given) == one_form
    assert web_address(one_form) == one_form


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("https://xn--a.example", '"xn--a", which is no valid punycode'),
        ("https://xn--.example", "no valid punycode"),
        ("https://xn--abc-.example", "no valid punycode"),  # stands for ASCII
        ("https://xn--80AVEM4-.рф", "no valid punycode"),
        ("https://xn--99999999999.example", "no valid punycode"),
        ("https://256.1.1.1", "neither a domain name nor an IP address"),
        ("https://0x7f.1", "neither a domain name nor an IP address"),
        ("https://a.example.5", "neither a domain name nor an IP address"),
        ("https://%FF.example", "neither a domain name nor an IP address"),
        ("https://\u200d.example", "neither a domain name nor an IP address"),
        ("https://a..example", "no domain name"),
        ("https://a.example..", "no domain name"),
        ("https://.a.example", "no domain name"),
        ("https://-a.example", "no domain name"),
        ("https://a-.example", "no domain name"),
        ("https://a%20b.example", "no domain name"),
        ("https://a%2Fb.example", "no domain name"),
        ("https://a,b.example", "no domain name"),
        ("https://*.example", "no domain name"),
        # What stands for letters may hold no sign of an address, and no markup.
        ("https://xn--%5bb%5d-dma.example", "no domain name"),
        ("https://[b]é.example", "is not a web address"),
        ("https://%5bb%5d%C3%A9.example", "no domain name"),
        ("https://xn--a%2Fb-dma.example", "no domain name"),
        ("https://xn--a%20b-dma.example", "no domain name"),
        ("https://xn--%3Cb%3E-dma.example", "no domain name"),
        ("https://xn--%22%27-dma.example", "no domain name"),
        (f"https://{'a' * 64}.example", "more than 63"),
        (f"https://{'ы' * 60}.example", "neither a domain name"),
        (f"https://{'a.' * 130}example", "more than 253"),
        ("https://[fe80::1%25eth0]", "no zone"),
        ("https://[1:2]", "is not a web address"),
        ("https://a.example\\@b.example", "no user"),
        ("https://@a.example", "no user"),
        ("https://a.example/x\\y", "in its path"),
        ("https://a.example/x/../y", "in its path"),
        ("https://a.example/x/%2E%2e", "in its path"),
        ("https://a.exam\tple", "must be an address"),
        (" https://a.example", "must be an address"),
        ("https://a.example\n", "must be an address"),
        ("http://лампы.рф", "must begin with https://"),
        ("http://127.0.0.1.example", "must begin with https://"),
    ],
)
def test_what_browsers_could_not_reach_is_refused_with_the_reason(given: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        web_address(given)


@pytest.mark.parametrize(
    ("url", "read"),
    [
        (f"https://{LAMPS}:8443/%D0%A7%D0%B0%D1%82", "https://лампы.рф:8443/Чат"),
        (f"https://*.{LAMPS}", "https://*.лампы.рф"),
        ("https://xn--ls8h.la/a%20b", "https://💩.la/a%20b"),
        ("https://a.example/%D0%A7%FF%2F", "https://a.example/%D0%A7%FF%2F"),
        ("https://a.example/%E2%80%AE", "https://a.example/%E2%80%AE"),  # would turn the text
        ("https://[::1]:80/x", "https://[::1]:80/x"),
        ("https://xn--a-7iq.example", "https://a❤.example"),
        # Letters that look like a slash, a space or a bracket; and what was kept by earlier rules.
        *(
            (one, one)
            for one in (
                "https://xn--shopru-se3c.evil.example",
                "https://xn--[b]-dma.evil.example",
                "https://xn--ab-wfx.evil.example",
                "https://xn--ab-x3t.evil.example",
                "https://xn--ab-tyy.evil.example",
            )
        ),
        ("", ""),
    ],
)
def test_people_read_letters(url: str, read: str) -> None:
    assert readable(url) == read
    assert both_forms(url) == (url if read == url else f"{url} ({read})")


def test_the_origin_of_an_address_is_what_browsers_name() -> None:
    assert origin_of(f"https://{LAMPS}:8443/a/b") == f"https://{LAMPS}:8443"
    assert origin_of("http://[::1]") == "http://[::1]"
    assert is_loopback("[::1]")
    assert is_loopback("127.3.2.1")
    assert not is_loopback("localhost.example")


# -- sites


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://лампы.рф", f"https://{LAMPS}"),
        ("https://*.лампы.рф/", f"https://*.{LAMPS}"),
        ("HTTPS://*.Shop.Example:443", "https://*.shop.example"),
        ("https://*.shop.example:8443", "https://*.shop.example:8443"),
        ("https://192.0.2.1", "https://192.0.2.1"),
    ],
)
def test_a_site_and_all_subdomains_of_one_are_kept_in_the_one_form(given: str, kept: str) -> None:
    assert site(given) == kept
    assert policy_source("https://a.example") == "https://a.example"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("https://shop.*", "whole first part"),
        ("https://*", "whole first part"),
        ("https://a*.shop.example", "whole first part"),
        ("https://*shop.example", "whole first part"),
        ("https://**.shop.example", "whole first part"),
        ("https://*.*.example", "whole first part"),
        ("https://a.*.example", "whole first part"),
        ("https://*.shop.example:*", "whole first part"),
        ("https://*.com", "a domain after"),
        ("https://*.рф", "a domain after"),
        ("https://*.192.0.2.1", "a domain after"),
        # Below these anybody can have a site.
        ("https://*.co.uk", "all sites below co.uk, where anybody can have one"),
        ("https://*.COM.RU", "all sites below com.ru"),
        ("https://*.github.io:8443", "all sites below github.io"),
        ("https://*.xn--55qx5d.cn", "all sites below 公司.cn"),
        ("https://*.any.kobe.jp", "all sites below any.kobe.jp"),
        ("*.shop.example", "must be an origin"),
        ("*", "must be an origin"),
        ("https://*.", "must be an address"),
        ("https://*.shop.example/path", "without a path"),
        ("http://*.shop.example", "must begin with https://"),
        # Chromium frames nothing where the policy names such a host.
        ("https://my_shop.example", "browsers cannot be told"),
        ("https://*.my_shop.example", "browsers cannot be told"),
        ("http://[::1]:8080", "browsers cannot be told"),
        ("https://[2001:db8::1]", "browsers cannot be told"),
    ],
)
def test_a_site_that_could_not_embed_the_chat_is_refused_with_the_reason(
    given: str, why: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        site(given)


SITES = ("https://shop.example", f"https://*.{LAMPS}", "https://*.lamps.example:8443")


@pytest.mark.parametrize(
    ("origin", "listed"),
    [
        ("https://shop.example", True),
        (f"https://ru.{LAMPS}", True),
        (f"https://a.b.{LAMPS}", True),
        (f"https://my_shop.{LAMPS}", True),
        ("https://ru.lamps.example:8443", True),
        (f"https://{LAMPS}", False),
        (f"https://.{LAMPS}", False),
        (f"https://evil{LAMPS}", False),
        (f"https://ru.{LAMPS}.evil.example", False),
        (f"https://ru.{LAMPS}:444", False),
        (f"http://ru.{LAMPS}", False),
        (f"https://evil.example/.{LAMPS}", False),
        (f"https://evil.example#.{LAMPS}", False),
        (f"https://user@ru.{LAMPS}", False),
        (f"https://*.{LAMPS}", False),
        ("https://ru.lamps.example", False),
        ("https://www.shop.example", False),
        ("null", False),
        ("", False),
        ("*", False),
    ],
)
def test_a_wildcard_means_the_subdomains_and_nothing_else(origin: str, listed: bool) -> None:
    assert is_listed(origin, SITES) is listed


# -- the whole application on such names


def install(app: Flask) -> None:
    """As if a portal had: before that anybody may frame the page that says how to install."""
    services: Services = app.extensions["sitechat"]
    services.store.portal.save(Portal("member", 1, "access", "refresh", 0.0, "token", False, 0.0))


def test_an_application_of_such_names_answers_and_names_itself(tmp_path: Path) -> None:
    app = create_app(
        Settings(
            public_url="https://Чат.лампы.рф/Мой чат",
            bitrix24=Bitrix24Settings(portal="https://портал.рф"),
            chat=ChatSettings(
                sites=("https://лампы.рф", "https://*.лампы.рф"),
                consent="I agree",
                consent_link="https://лампы.рф/правила",
            ),
            storage=StorageSettings(url=f"sqlite:///{tmp_path}/chats.db", files=str(tmp_path)),
        )
    )
    browser, prefix = app.test_client(), "/Мой чат"

    page = browser.get(f"{prefix}/?embed=1")
    policy = page.headers["Content-Security-Policy"]
    assert page.status_code == 200
    assert policy.endswith(f"frame-ancestors 'self' https://{LAMPS} https://*.{LAMPS}")
    config = json.loads(page.text.partition('id="config">')[2].partition("</script>")[0])
    own = f"https://xn--80a0bn.{LAMPS}"
    assert config["sites"] == [own, f"https://{LAMPS}", f"https://*.{LAMPS}"]
    assert f'href="https://{LAMPS}/%D0%BF%D1%80%D0%B0%D0%B2%D0%B8%D0%BB%D0%B0"' in page.text

    form = {"type": "send_message", "message": "hello", "consent": "yes"}
    taken = browser.post(f"{prefix}/ajax", data=form, headers={"Origin": own})
    assert taken.status_code == 200
    assert "Path=/%D0%9C%D0%BE%D0%B9%20%D1%87%D0%B0%D1%82/" in taken.headers["Set-Cookie"]
    turned_away = browser.post(
        f"{prefix}/ajax", data=form, headers={"Origin": "https://evil.example"}
    )
    assert "https://чат.лампы.рф/Мой%20чат/" in turned_away.text

    install(app)
    frame = browser.post("/Мой чат/handler", data={"PLACEMENT": "DEFAULT"})
    assert "frame-ancestors https://xn--80awhdgm.xn--p1ai" in str(frame.headers)


@pytest.mark.parametrize("portal", ["https://[2001:db8::1]", "https://my_portal.example"])
def test_a_portal_that_no_policy_can_name_may_frame_its_pages(tmp_path: Path, portal: str) -> None:
    app = create_app(
        Settings(
            bitrix24=Bitrix24Settings(portal=portal),
            storage=StorageSettings(url=f"sqlite:///{tmp_path}/chats.db", files=str(tmp_path)),
        )
    )

    install(app)
    frame = app.test_client().post("/handler", data={"PLACEMENT": "DEFAULT"})

    assert frame.headers["Content-Security-Policy"].endswith("frame-ancestors https:")
