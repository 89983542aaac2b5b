"""BB codes become safe HTML in linear time, and the signature comes off the front of a text."""

import html
import time
from html.parser import HTMLParser
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bbcode
import nesting
import sanitizer
import values
from bbcode import file_html, take_signature, to_html

relaxed = settings(deadline=None)  # a busy machine is no failure

REL = 'target="_blank" rel="noopener noreferrer nofollow ugc"'
DASHES = "-" * 54
ALLOWED = {
    **{tag: set[str]() for tag in ("strong", "em", "u", "s", "br", "cite", "code", "sub", "sup")},
    **{tag: set[str]() for tag in ("ul", "li", "table", "tbody", "tr", "td", "th", "hr")},
    **{tag: set[str]() for tag in ("details", "summary")},
    "ol": {"type"},
    "div": {"class"},
    "audio": {"class", "src", "title", "controls", "preload"},
    "video": {"class", "src", "title", "controls", "preload"},
    "a": {"href", "target", "rel"},
    "img": {"class", "src", "alt", "title", "loading", "referrerpolicy"},
    "span": {"class"},
    "blockquote": {"class"},
    "pre": {"class"},
    "time": {"datetime"},
}
SAFE_SCHEMES = {"href": ("http://", "https://", "mailto:", "tel:"), "src": ("http://", "https://")}
HUES = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "gray")
CLASSES = {"bb-quote", "bb-code", "bb-image", "bb-icon", "bb-file", "bb-mention", "bb-command"}
CLASSES |= {"bb-audio", "bb-video", "bb-center", "bb-right", "bb-heading"}
CLASSES |= {f"bb-size-{size}" for size in ("s", "m", "l", "xl")} | {f"bb-color-{h}" for h in HUES}


class Page(HTMLParser):
    """Reads HTML as a browser would and refuses all that a bubble must not hold."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.depth = 0
        self.text = ""
        self.feed(markup)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert {name for name, _ in attrs} <= ALLOWED[tag]
        for name, value in attrs:
            assert value is not None
            if name in SAFE_SCHEMES:
                assert value.lower().startswith(SAFE_SCHEMES[name])
                assert value.isprintable()
            if name == "class":
                assert value in CLASSES
        if tag == "a":
            assert "a" not in self.open
            assert dict(attrs)["rel"] == "noopener noreferrer nofollow ugc"
            assert dict(attrs)["target"] == "_blank"
        if tag == "img":
            assert (dict(attrs)["loading"], dict(attrs)["referrerpolicy"]) == (
                "lazy",
                "no-referrer",
            )
        if tag == "br":
            self.text += "\n"
        elif tag not in ("img", "hr"):
            self.open.append(tag)
            self.depth = max(self.depth, len(self.open))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(data)


def visible(text: str) -> str:
    """What a reader sees of a text, after a check of all its HTML."""
    return Page(str(to_html(text))).text


def link(url: str, shown: str | None = None) -> str:
    return f'<a href="{url}" {REL}>{shown or url}</a>'


def image(url: str, alt: str, css: str = "bb-image", more: str = "") -> str:
    how = 'loading="lazy" referrerpolicy="no-referrer"'
    return f'<img class="{css}" src="{url}" alt="{alt}"{more} {how}>'


def quote(shown: str) -> str:
    return f'<blockquote class="bb-quote">{shown}</blockquote>'


# What is rendered

CODES = [
    # of the example that comes with the portal
    ("[b]x[/b]", "<strong>x</strong>"),
    ("[B]x[/b] [i]y[/I]", "<strong>x</strong> <em>y</em>"),
    ("[u]x[/u][s]y[/s]", "<u>x</u><s>y</s>"),
    ("[b]one\ntwo[/b]", "<strong>one<br>two</strong>"),
    ("[b][i]x[/i][/b]", "<strong><em>x</em></strong>"),
    ("a[br]b[BR]c\nd\r\ne\rf", "a<br>b<br>c<br>d<br>e<br>f"),
    ("[url]https://a.example/x[/url]", link("https://a.example/x")),
    ("[url=https://a.example]x [b]y[/b][/url]", link("https://a.example", "x <strong>y</strong>")),
    ('[URL="https://a.example"]x[/URL]', link("https://a.example", "x")),
    (
        "[url=https://a.example/?f[ID]=1&x[]=2]x[/url]",
        link("https://a.example/?f[ID]=1&amp;x[]=2", "x"),
    ),
    ("[url]https://a.example/?f[ID]=1[/url]", link("https://a.example/?f[ID]=1")),
    ("[url=mailto:a.b@c.example]write[/url]", link("mailto:a.b@c.example", "write")),
    ("[url=mailto:a@c.example?subject=b]x[/url]", link("mailto:a@c.example?subject=b", "x")),
    ("[url]mailto:a@c.example[/url]", link("mailto:a@c.example")),
    ("[url=tel:+79991234567]call[/url]", link("tel:+79991234567", "call")),
    ("[url=https://a.example][/url]", link("https://a.example")),
    ("[url=HTTPS://пример.рф/путь]x[/url]", link("HTTPS://пример.рф/путь", "x")),
    ("[url=http://127.0.0.1:8080/#a]x[/url]", link("http://127.0.0.1:8080/#a", "x")),
    (
        "[img]https://a.example/b/c.png?d=/e[/img]",
        link("https://a.example/b/c.png?d=/e", image("https://a.example/b/c.png?d=/e", "c.png")),
    ),
    (
        "[img size=medium]https://a.example/c.png [/img]\nnext",
        link("https://a.example/c.png", image("https://a.example/c.png", "c.png")) + "next",
    ),
    (
        "[url=https://b.example][img]https://a.example/c.png[/img][/url]",
        link("https://b.example", image("https://a.example/c.png", "c.png")),
    ),
    # the portal's others
    ("[size=11]x[/size]", '<span class="bb-size-s">x</span>'),
    ("[size=12px]x[/size]", '<span class="bb-size-m">x</span>'),
    ("[size=20]x[/size]", '<span class="bb-size-l">x</span>'),
    ("[size=30]x[/size]", '<span class="bb-size-xl">x</span>'),
    ("[size=huge]x[/size]", "<span>x</span>"),
    ("x[size=9][/size][color=red][/color]", "x"),
    ("[color=#f00]x[/color]", '<span class="bb-color-red">x</span>'),
    ("[COLOR=Blue]x[/COLOR]", '<span class="bb-color-blue">x</span>'),
    ("[color=expression(alert)]x[/color]", "<span>x</span>"),
    ("[user=5]Olga[/user]", '<span class="bb-mention">Olga</span>'),
    ("[user=all]All[/user]", '<span class="bb-mention">All</span>'),
    ("[user]Olga[/user]", '<span class="bb-mention">Olga</span>'),
    ("[user=5][/user]", '<span class="bb-mention">5</span>'),
    ("[chat=imol|7]Line[/chat]", '<span class="bb-mention">Line</span>'),
    ("[context=chat1/2]that[/context]", '<span class="bb-mention">that</span>'),
    ("[send=/help]Help[/send]", '<span class="bb-command">Help</span>'),
    ("[send=/help me][/send]", '<span class="bb-command">/help me</span>'),
    ("[put]/find[/put]", '<span class="bb-command">/find</span>'),
    ("[call=+7 (999) 123-45-67]us[/call]", link("tel:+79991234567", "us")),
    ("[call]+7 999 123[/call]", link("tel:+7999123", "+7 999 123")),
    (
        "[timestamp=1645844720 format=SHORT_TIME_FORMAT]",
        '<time datetime="2022-02-26T03:05:20Z">2022-02-26 03:05 UTC</time>',
    ),
    ("[timestamp=0]", '<time datetime="1970-01-01T00:00:00Z">1970-01-01 00:00 UTC</time>'),
    (
        "[icon=https://a.example/i.png size=20 title=My dog]",
        image("https://a.example/i.png", "My dog", "bb-icon", ' title="My dog"'),
    ),
    (
        "[ICON=https://a.example/i.png TITLE=Dog HEIGHT=20]",
        image("https://a.example/i.png", "Dog", "bb-icon", ' title="Dog"'),
    ),
    ("[icon=https://a.example/i.png]", image("https://a.example/i.png", "i.png", "bb-icon")),
    ("[disk=12]", '<span class="bb-file">📎 12</span>'),
    ("[disk file id=n12]", '<span class="bb-file">📎 n12</span>'),
    ("[like] [dislike]", "👍 👎"),
    ("x <img src='/s.png' data-code=\":)\" alt=x>", "x :)"),
    ('<IMG data-code="&gt;:(" width=16>', "&gt;:("),
    ("<img class=\"a>b\" data-code='8-)'>", "8-)"),
    # quotes
    ("[quote]x[/quote]y", quote("x") + "y"),
    ("[quote]\nx\n[/quote]\n\ny", quote("x<br>") + "<br>y"),
    ("[quote]x[/quote][br]y", quote("x") + "y"),
    ("[quote]x[quote]y[/quote][/quote]", quote("x" + quote("y"))),
    (">>x", quote("x")),
    ("a\n>>x\n>> y\nb", "a<br>" + quote("x<br>y") + "b"),
    (">>x\n\n>>y", quote("x") + "<br>" + quote("y")),
    (">>x\n>>\n>>y", quote("x<br><br>y")),
    (">>[b]x\ny[/b]", quote("<strong>x</strong>") + "<strong>y</strong>"),
    (">>>x", quote("&gt;x")),
    (">><i>\n<b>", quote("&lt;i&gt;") + "&lt;b&gt;"),
    (
        f"{DASHES}\nOlga Petrova [12.05.2026 10:11]\nasked [b]x[/b]\n{DASHES}\nanswer",
        quote("<cite>Olga Petrova [12.05.2026 10:11]</cite>asked <strong>x</strong><br>")
        + "answer",
    ),
    (
        f"{DASHES}\nOlga [12.05.2026 10:11] #chat5/903311\nx\n{DASHES}\ny",
        quote("<cite>Olga [12.05.2026 10:11]</cite>x<br>") + "y",
    ),
    (f"{DASHES}\nx\n{DASHES}\ny", quote("x<br>") + "y"),
    (f"{'-' * 20}\nx\n{'-' * 25} \ny", quote("x<br>") + "y"),
    (f"{DASHES}\na\n{DASHES}\nb\n{DASHES}\nc\n{DASHES}", quote("a<br>") + "b<br>" + quote("c<br>")),
    # code
    ("[code]x[/code]", '<pre class="bb-code"><code>x</code></pre>'),
    (
        "[CODE]\n  if  a:\n\tb  \n[/CODE]\nthen",
        '<pre class="bb-code"><code>  if  a:\n\tb  </code></pre>then',
    ),
    (
        "[code][b]x[/b]\n>>y https://a.example [code] <i>[/code][/code]",
        '<pre class="bb-code"><code>[b]x[/b]\n&gt;&gt;y https://a.example [code] &lt;i&gt;'
        "</code></pre>[/code]",
    ),
    (
        "[b]x[code][/b][/code]y[/b]",
        '<strong>x<pre class="bb-code"><code>[/b]</code></pre>y</strong>',
    ),
    # bare addresses
    ("see https://a.example/b?c=d&e", "see " + link("https://a.example/b?c=d&amp;e")),
    ("https://a.example.", link("https://a.example") + "."),
    ("https://a.example/?!», he said", link("https://a.example/") + "?!», he said"),
    ("https://a.example/?a&lt;b", link("https://a.example/?a&amp;lt;b")),
    ("(https://a.example/b_(c))", "(" + link("https://a.example/b_(c)") + ")"),
    ("(https://a.example/b)", "(" + link("https://a.example/b") + ")"),
    ("https://a.example/b_(c)", link("https://a.example/b_(c)")),
    ("<https://a.example>", "&lt;" + link("https://a.example") + "&gt;"),
    ("[b]https://a.example[/b]", f"<strong>{link('https://a.example')}</strong>"),
    ("https://a.example/[br]x", link("https://a.example/") + "<br>x"),
    ("https://a.example/?f[ID]=1", link("https://a.example/?f[ID]=1")),
    ("https://a.example\u200b x", link("https://a.example") + "\u200b x"),
    ("[note https://a.example]", "[note " + link("https://a.example") + "]"),
    (
        "[url=https://a.example]https://b.example[/url]",
        link("https://a.example", "https://b.example"),
    ),
    # codes that overlap
    ("[b]1[i]2[/b]3[/i]", "<strong>1<em>2</em></strong><em>3</em>"),
    ("[b][i]x[/b][/i]", "<strong><em>x</em></strong>"),
    ("[b]1[quote]2[/b]3[/quote]", f"<strong>1{quote('2')}</strong>{quote('3')}"),
    (
        "[i]1[url=https://a.example]2[/i]3[/url]",
        f"<em>1{link('https://a.example', '2')}</em>{link('https://a.example', '3')}",
    ),
]

CODES += [
    # addresses as people write them
    ("[url=www.x.example]y[/url]", link("http://www.x.example", "y")),
    ("[url=x.example/path?a=b]y[/url]", link("http://x.example/path?a=b", "y")),
    ("[url=лампы.рф]y[/url]", link("http://лампы.рф", "y")),
    ("[url]www.x.example[/url]", link("http://www.x.example", "www.x.example")),
    ("[url=a@b.example]y[/url]", link("mailto:a@b.example", "y")),
    ("[url=https://x.example/a b]c[/url]", link("https://x.example/a%20b", "c")),
    (
        "[url]https://x.example/a b[/url]",
        link("https://x.example/a%20b", "https://x.example/a b"),
    ),
    (
        "[img]https://x.example/a b.png[/img]",
        link("https://x.example/a%20b.png", image("https://x.example/a%20b.png", "a b.png")),
    ),
    ("[img]http://x.example/a b[/img]", link("http://x.example/a%20b", "http://x.example/a b")),
    (
        "[img width=10 height=5]https://a.example/c[/img]",
        link("https://a.example/c", image("https://a.example/c", "c")),
    ),
    (
        "[url=https://x.example/?a=1&amp;b=2]c[/url]",
        link("https://x.example/?a=1&amp;b=2", "c"),
    ),
    ("[url=&quot;https://x.example&quot;]c[/url]", link("https://x.example", "c")),
    ("[Url = 'https://x.example']c[/uRl]", link("https://x.example", "c")),
    ("[email]a@b.example[/email]", link("mailto:a@b.example", "a@b.example")),
    ("[email=a@b.example]me[/email]", link("mailto:a@b.example", "me")),
    (
        "[video width=400 type=YOUTUBE]https://a.example/v[/video]",
        link("https://a.example/v"),
    ),
    # bare addresses without a scheme
    ("see www.x.example.", f"see {link('http://www.x.example', 'www.x.example')}."),
    ("(лампы.рф/путь)", f"({link('http://лампы.рф/путь', 'лампы.рф/путь')})"),
    ("a.b@c.example,", link("mailto:a.b@c.example", "a.b@c.example") + ","),
    ("i@лампы.рф", link("mailto:i@лампы.рф", "i@лампы.рф")),
    ("t. +7 (999) 123-45-67.", f"t. {link('tel:+79991234567', '+7 (999) 123-45-67')}."),
    ("8-800-555-35-35", link("tel:88005553535", "8-800-555-35-35")),
    ("8 (495) 123-45-67", link("tel:84951234567", "8 (495) 123-45-67")),
    ("020 7946 0958", link("tel:02079460958", "020 7946 0958")),
    ("(212) 555-0123", link("tel:2125550123", "(212) 555-0123")),
    ("[b]www.x.example[/b]", f"<strong>{link('http://www.x.example', 'www.x.example')}</strong>"),
    ("[url=https://a.example]www.b.example[/url]", link("https://a.example", "www.b.example")),
    ("[code]www.x.example[/code]", '<pre class="bb-code"><code>www.x.example</code></pre>'),
    # brackets, breaks and spaces in codes
    ("[url=https://a.example/?f[a-b]=1]x[/url]", link("https://a.example/?f[a-b]=1", "x")),
    ("[url=https://a.example/?f[a b]=1]x[/url]", link("https://a.example/?f[a%20b]=1", "x")),
    ("[url=https://a.example/[x y]]z[/url]", link("https://a.example/[x%20y]", "z")),
    ("[url=https://a.example] [/url]", link("https://a.example", "https://a.example ")),
    ("[url=https://a.example][br][/url]", link("https://a.example", "https://a.example<br>")),
    ("[list][*]x\n[*]y", "<ul><li>x<br></li><li>y</li></ul>"),
    ("[table][tr][td]x", "<table><tbody><tr><td>x</td></tr></tbody></table>"),
    ("[table][tr][td]x[/td][/tr]", "<table><tbody><tr><td>x</td></tr></tbody></table>"),
    ("x [center]y", 'x <div class="bb-center">y</div>'),
    ("[quote=x]y", quote("<cite>x</cite>y")),
    ("[url=https://a.example/a[1]x[/url]", link("https://a.example/a[1", "x")),
    ("[url=https://[::1]/]x[/url]", "<span>x</span>"),
    ("[url=https://a.example\n]x[/url]", link("https://a.example", "x")),
    ("[url=https://a.example]x[/url ]", link("https://a.example", "x")),
    ("[url\t=https://a.example]x[/url]", link("https://a.example", "x")),
    ("[url\xa0href=https://a.example]x[/url]", link("https://a.example", "x")),
    ('[url="https://a.example" target="_blank"]x[/url]', link("https://a.example", "x")),
    ("[url=«https://a.example»]x[/url]", link("https://a.example", "x")),
    ("[url=“https://a.example”]x[/url]", link("https://a.example", "x")),
    ("[url=tel:8 800 555 35 35]x[/url]", link("tel:88005553535", "x")),
    ("[url=https://a.example:65535/]x[/url]", link("https://a.example:65535/", "x")),
    ("[email=a@b.example?subject=x]y[/email]", link("mailto:a@b.example?subject=x", "y")),
    ("[video=https://a.example/v]x[/video]", link("https://a.example/v", "x")),
    ("[quote]x[/quote] \ty", quote("x") + "y"),
    ("[spoiler]x[/spoiler]", "<details><summary>…</summary>x</details>"),
    (
        "[url=https://a.example]x [url=https://b.example]y[/url] z[/url]",
        link("https://a.example", "x <span>y</span> z"),
    ),
    (
        "[url=https://a.example]x [url=https://b.example][/url] z[/url]",
        link("https://a.example", "x <span>https://b.example</span> z"),
    ),
    ("https://a.example/?a[b-c]=1", link("https://a.example/?a[b-c]=1")),
    ("[url]https://a.example/?a[b-c]=1[/url]", link("https://a.example/?a[b-c]=1")),
    ("[b ]x[/b ]", "<strong>x</strong>"),
    ("[quote=I. [12.05.2026 10:11]]x[/quote]", quote("<cite>I. [12.05.2026 10:11]</cite>x")),
    # quotes
    (
        "[quote]a [quote=Name]b[/quote] c[/quote]",
        quote(f"a {quote('<cite>Name</cite>b')}c"),
    ),
    ("[code=php]x[/code]", '<pre class="bb-code"><code>x</code></pre>'),
    # of text editors
    ("a[br/]b[br /]c[BR]d", "a<br>b<br>c<br>d"),
    ("a[hr]\nb[hr/]", "a<hr>b<hr>"),
    (
        "[list]\n[*]a\n[*][b]b[/b]\n[/list]\nc",
        "<ul><li>a<br></li><li><strong>b</strong><br></li></ul>c",
    ),
    ("[list=1][*]a[/*][*]b[/list]", '<ol type="1"><li>a</li><li>b</li></ol>'),
    ("[list=decimal][*]a[/list]", "<ol><li>a</li></ol>"),
    ("[ul]\n[li]a[/li]\n[li]b[/li][/ul]", "<ul><li>a</li><li>b</li></ul>"),
    ("[ol][li]a[li]b[/ol]", "<ol><li>a</li><li>b</li></ol>"),
    (
        "[list]x[*]a[list][*]b[/list][*]c[/list]",
        "<ul><li>x</li><li>a<ul><li>b</li></ul></li><li>c</li></ul>",
    ),
    (
        "[list][*][b]a[*]b[/b][/list]",
        "<ul><li><strong>a</strong></li><li><strong>b</strong></li></ul>",
    ),
    (
        "[table]\n[tr]\n[th]a[/th][td][/td]\n[/tr][/table]\nb",
        "<table><tbody><tr><th>a</th><td></td></tr></tbody></table>b",
    ),
    (
        "[table]a[tr]b[td]c[/td][/tr][td]d[/td][/table]",
        "<table><tbody><tr><td>a</td></tr><tr><td>b</td><td>c</td></tr><tr><td>d</td></tr>"
        "</tbody></table>",
    ),
    (
        "[center]a[/center]\n[right]b[/right]",
        '<div class="bb-center">a</div><div class="bb-right">b</div>',
    ),
    ("[p]a[/p]\n[p]b[/p]", "<div>a</div><div>b</div>"),
    ("[h1]a[/h1]\nb", '<div class="bb-heading">a</div>b'),
    ("x[sup]2[/sup][sub]3[/sub]", "x<sup>2</sup><sub>3</sub>"),
    ("[spoiler=a]b[/spoiler]", "<details><summary>a</summary>b</details>"),
    ("[font=Arial]a[/font]", "<span>a</span>"),
    ("[department=5]Sales[/department]", '<span class="bb-mention">Sales</span>'),
]


@pytest.mark.parametrize(("text", "expected"), CODES)
def test_a_code_is_rendered(text: str, expected: str) -> None:
    assert to_html(text) == expected
    Page(expected)


NO_CODES = r"""
[b]x|x[/b]|[b|b]|[]|[/]|[ b]x[/b]|[/b]x[b]|[b][/i]|[/b x]|[br=1]
[note]x[/note]|[1]|a[i] = b[j]|[/like]|[*]x|[li]x|[/li]|[h7]x[/h7]|[url=https://]x
[url]x|[url=javascript:x]x|[img]x|https://u:p@a.example/x
https://a.example:123456|https://%61.example
[icon=x.png]|[icon]|[icon=mailto:a@b.example]|[timestamp=x]|[timestamp=-1]|[timestamp]
[timestamp=123456789012]|[disk]|[disk=<b>]|[disk file]|[code]x|x[/code]
x >> y| >>x|https://|http:// x|https://...|ftp://a.example|a@b|x.y.z|a@|www.|www.x|@a.example
12.05.2026 10:11|2026-05-12 10:11:12|1234567890|12345678901|1,234,567,890|№89161234567|+7 999
40702810900000001234|05-12-2026 15|1.5.10|readme.txt|т.е. и т.д.|Привет.Как|a.b@|100 000 000
<img src=x>|<img>|<img data-code=>|<img data-code="">|-> <- <3 && "'`|&amp;#91;b]
""".strip().replace("\n", "|")


@pytest.mark.parametrize(
    "text",
    [
        *NO_CODES.split("|"),
        *(DASHES, f"{DASHES}\nx", f"x{DASHES}\ny\nx{DASHES}", f"{DASHES}x\ny\n{DASHES}x"),
        *(f"{'-' * 19}\nx\n{'-' * 19}", f"{DASHES}\nOlga [1]\nx", "[user=a\nb]x[/user]"),
        *("https://a.exam\u200bple", "https://a.b/\u2066x"),
        "https://a.example/" + "x" * values.MAX_URL,
        "[user=" + "x" * values.MAX_URL + "x][/user]",
    ],
)
def test_what_is_no_code_is_shown_as_typed(text: str) -> None:
    assert visible(text) == text
    assert to_html(text) == html.escape(text, quote=False).replace("\n", "<br>")


LABELS = r"""
[url=javascript:a]x [b]y[/b][/url] -> x y
[url=/path]x[/url] -> x
[url=//e.example]x[/url] -> x
[url=ftp://a.example]x[/url] -> x
[url=]x[/url] -> x
[url x]x[/url] -> x
[url]x[/url] -> x
[URL="javascript:a"]x[/URL] -> x
[url=https://]x[/url] -> x
[url=https:a.example]x[/url] -> x
[url=mailto:x]x[/url] -> x
[url=tel:x]x[/url] -> x
[url=javascript:a][/url] -> javascript:a
[url=https://good.example@evil.example]x[/url] -> x
[url]https://u@a.example[/url] -> https://u@a.example
[url=https://a.example:port]x[/url] -> x
[url=https://a .example]x[/url] -> x
[url=https://%61.example]x[/url] -> x
[url=https://a.example:65536/]x[/url] -> x
[url=https://a.example:99999/]x[/url] -> x
[img]x[/img] -> x
[img]data:image/png;base64,AAAA[/img] -> data:image/png;base64,AAAA
[icon=x.png title=dog] -> dog
[size]x[/size] -> x
[color]x[/color] -> x
[call=911x]x[/call] -> x
[call]x[/call] -> x
[email=x]y[/email] -> y
[user=]x[/user] -> x
[b=1]x[/b] -> x
[b ]x[/b] -> x
[quote][url=ftp://x]y[/url][/quote] -> y
[font=Arial]x[/font] -> x
[p]x[/p] -> x
[left]x[/left] -> x
[td]x[/td] -> x
[tr][td]x[/td][/tr] -> x
[li]x[/li] -> x
[attach=1]x[/attach] -> x
[list][/list]x -> x
[video]rtmp://a.example[/video] -> rtmp://a.example
""".strip().splitlines()


@pytest.mark.parametrize("line", LABELS)
def test_of_a_code_that_makes_no_sense_only_its_content_is_shown(line: str) -> None:
    typed, _, shown = line.rpartition(" -> ")

    assert visible(typed) == shown
    assert "href" not in to_html(typed)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        *((name, name) for name in HUES),
        *[("#ff0000", "red"), ("#FFA500", "orange"), ("#ffd700", "yellow"), ("#008000", "green")],
        *[("#0ff", "teal"), ("#00f", "blue"), ("#800080", "purple"), ("#ff69b4", "pink")],
        *[("#dc143c", "red"), ("#808080", "gray"), ("#888", "gray"), ("00aa00", "green")],
    ],
)
def test_a_color_becomes_the_nearest_of_the_palette(value: str, name: str) -> None:
    assert to_html(f"[color={value}]x[/color]") == f'<span class="bb-color-{name}">x</span>'


@pytest.mark.parametrize(
    "value", ["#000", "#ffffff", "black", "#12", "#ggg", "rgb(1,2,3)", "url(x)"]
)
def test_black_white_and_what_is_no_color_keep_the_color_of_the_text(value: str) -> None:
    assert to_html(f"[color={value}]x[/color]") == "<span>x</span>"


def test_controls_and_overrides_are_dropped_and_writing_of_every_script_stays() -> None:
    assert visible("a\x00b\x07c\x7fd\x85e\u202ef\u202ag") == "abcdefg"
    assert visible("\ud800a\udfff") == "\ufffda\ufffd"
    for text in (
        "مرحبا \u200f(a)",
        "שלום \u2067x\u2069",
        "می\u200cخواهم",
        "👩\u200d💻",
        "हिन्दी",
        "a\tb",
    ):
        assert visible(text) == text


def test_a_dropped_character_does_not_hide_a_scheme() -> None:
    assert "<a" not in to_html("[url=java\x00script:alert(1)]x[/url]")


def test_all_classes_are_named_for_the_style_sheet() -> None:
    described = bbcode.__doc__ or ""
    for name in CLASSES:
        assert name in described or "-" + name.rpartition("-")[2] in described


# The signature

SIGNED = [
    ("[b]Olga Petrova:[/b] [br]Good morning!", "Olga Petrova", "Good morning!"),
    ("[b]Olga Petrova:[/b][br] Good morning!", "Olga Petrova", "Good morning!"),
    ("[b]Olga Petrova:[/b][br]Good morning!", "Olga Petrova", "Good morning!"),
    ("[B]Olga Petrova:[/B] [BR]Good morning!", "Olga Petrova", "Good morning!"),
    ("[b]Olga:[/b] ", "Olga", ""),
    ("[b]Olga:[/b]", "Olga", ""),
    ("[b]Olga:[/b] [br]", "Olga", ""),
    ("[b]Olga:[/b] [br]one\ntwo[br]three", "Olga", "one\ntwo[br]three"),
    ("[b]Olga:[/b] [br][b]Note:[/b] [br]x", "Olga", "[b]Note:[/b] [br]x"),
    ("[b]Olga:[/b] [br]\nx", "Olga", "\nx"),
    ('[b]Иван "Ваня" О\'Нил 2:[/b] [br]x', 'Иван "Ваня" О\'Нил 2', "x"),
    ("[b]bitrix24@edna.example:[/b] [br]x", "bitrix24@edna.example", "x"),
    ("[b]Sales: Europe:[/b] [br]x", "Sales: Europe", "x"),
    ("[b]Olga [sales]:[/b] [br]x", "Olga [sales]", "x"),
    ("[b]Tom &amp; &quot;Co&quot;:[/b] [br]x", 'Tom & "Co"', "x"),
    ("[b]AT&T:[/b] [br]x", "AT&T", "x"),
    ("[b]<script>:[/b] [br]x", "<script>", "x"),
    ("[b]Ol\u202ega\x07&#10; P:[/b] [br]x", "Olga P", "x"),
    (f"[b]{'n' * 255}:[/b] [br]x", "n" * 255, "x"),
]
UNSIGNED = [
    *("[b]\u3164:[/b][br]x", "[b]\u200b:[/b]"),
    *("", "Hello", "Price: 100", "[b]Note[/b] text", "[b]Now:[/b] text", "[b]Now:[/b]text"),
    *("[b]Important:[/b]\ntext", "[b]Note[/b] and [b]Olga:[/b] [br]x", "[b]Olga[/b]: [br]x"),
    *(" [b]Olga:[/b] [br]x", "x[b]Olga:[/b] [br]x", "[b]:[/b] [br]x", "[b] :[/b] [br]x"),
    *("[b]Ol\nga:[/b] [br]x", "[b]Olga:", "[b]Olga:[/b", "[i]Olga:[/i] [br]x"),
    *("[b]Olga:[/i] [br]x", "[b]Olga:[/b] x [br]y", "[b]Olga:[/b]\n[br]x"),
    *("[b][b]Olga:[/b] [br]x", "Olga: [br]x", f"[b]{'n' * 256}:[/b] [br]x"),
]


@pytest.mark.parametrize(("text", "name", "body"), SIGNED)
def test_the_signature_comes_off_the_front(text: str, name: str, body: str) -> None:
    assert take_signature(text) == (name, body)


@pytest.mark.parametrize("text", UNSIGNED)
def test_a_text_without_a_signature_stays_whole(text: str) -> None:
    assert take_signature(text) == (None, text)


NAMES = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters="&[]"))


@relaxed
@given(
    name=NAMES.map(lambda name: " ".join(name.split())[:255].strip()).filter(bool),
    body=st.text().filter(lambda body: not body.startswith(" ")),
    form=st.sampled_from(
        ["[b]{}:[/b] [br]", "[b]{}:[/b][br] ", "[b]{}:[/b][br]", "[B]{}:[/B] [BR]"]
    ),
)
def test_whatever_is_signed_is_split_again(name: str, body: str, form: str) -> None:
    assert take_signature(form.format(name) + body) == (name, body)


# Files


@pytest.mark.parametrize(
    ("given_file", "expected"),
    [
        (
            ("p.pdf", "file", "https://a.example/~x", 190_233),
            link("https://a.example/~x", '<span class="bb-file">p.pdf (186 KB)</span>'),
        ),
        (
            ("s.png", "image", "https://a.example/~x#img.png", 12),
            link("https://a.example/~x", image("https://a.example/~x", "s.png (12 B)")),
        ),
        (
            ("s.jpe", "image", "https://a.example/a b", None),
            link("https://a.example/a%20b", image("https://a.example/a%20b", "s.jpe")),
        ),
        (
            ("s.HEIC", "image", "https://a.example/~x", None),
            link("https://a.example/~x", '<span class="bb-file">s.HEIC</span>'),
        ),
        (
            ("s.svg", "image", "https://a.example/~x", None),
            link("https://a.example/~x", '<span class="bb-file">s.svg</span>'),
        ),
        (
            ("v.MP4", "video", "https://a.example/~x", 12),
            '<video class="bb-video" src="https://a.example/~x" title="v.MP4 (12 B)" controls="" '
            'preload="none"></video>'
            + link("https://a.example/~x", '<span class="bb-file">v.MP4 (12 B)</span>'),
        ),
        (
            ("a.mp3", "audio", "https://a.example/~x", None),
            '<audio class="bb-audio" src="https://a.example/~x" title="a.mp3" controls="" '
            'preload="none"></audio>'
            + link("https://a.example/~x", '<span class="bb-file">a.mp3</span>'),
        ),
        (
            ("a.wma", "audio", "https://a.example/~x", None),
            link("https://a.example/~x", '<span class="bb-file">a.wma</span>'),
        ),
        (
            ("a.mp3", "audio", "http://a.example/~x", None),
            link("http://a.example/~x", '<span class="bb-file">a.mp3</span>'),
        ),
        (("<b>", "image", "javascript:alert(1)", None), '<span class="bb-file">&lt;b&gt;</span>'),
        (("fdp\u202e.exe", "file", "", None), '<span class="bb-file">fdp.exe</span>'),
    ],
)
def test_a_file_is_shown(given_file: tuple[str, str, str, int | None], expected: str) -> None:
    assert file_html(*given_file) == expected
    Page(expected)


# Nothing runs

TYPED_ATTACKS = """
<script>alert(1)</script>
<ScRiPt src=//e.example>
<script\x0c>alert(1)</script>
<img src=x onerror=alert(1)>
<img/src/onerror=alert(1)>
<svg onload=alert(1)>
<svg><script>alert(1)</script></svg>
<body onload=alert(1)>
<b onclick=alert(1)>x</b>
<iframe src=javascript:alert(1)>
<object data=x>
<embed src=x>
<base href=//e.example>
<form action=//e.example><input>
<style>*{}</style>
<link rel=stylesheet href=x>
<meta http-equiv=refresh content=0>
<div style=x:y>
</div></article><h1>
<!-- x -->
<![CDATA[x]]>
<?xml x?>
<math><mi xlink:href=data:x>
<template><script>
<plaintext>
<noscript><p title='</noscript><img src=x onerror=alert(1)>'>
<a href=javascript:x>x</a>
&lt;script&gt;alert(1)
&#60;script&#62;
\\u003cscript\\u003e
%3Cscript%3E
{{7*7}} ${7*7} <%= x %>
"'><img src=x onerror=alert(1)>
javascript:alert(1)
[disk="><script>]
[timestamp=1"onclick=x]
<img data-code=:) onerror=alert(1)>
""".strip("\n").split("\n")
LABELLED_ATTACKS = """
[url=javascript:alert(1)]x[/url] -> x
[url=JaVaScRiPt:alert(1)]x[/url] -> x
[url=java\tscript:alert(1)]x[/url] -> x
[url= javascript:alert(1)]x[/url] -> x
[url=\x01javascript:alert(1)]x[/url] -> x
[url=javascript&#58;alert(1)]x[/url] -> x
[url=javascript&colon;alert(1)]x[/url] -> x
[url=&#106;avascript:alert(1)]x[/url] -> x
[url=javascript%3Aalert(1)]x[/url] -> x
[url=java\u200bscript:alert(1)]x[/url] -> x
[url=\u2028javascript:alert(1)]x[/url] -> x
[url=java\u202escript:alert(1)]x[/url] -> x
[url=javaſcript:alert(1)]x[/url] -> x
[url=jav\u0430script:alert(1)]x[/url] -> x
[url=httpſ://a.example]x[/url] -> x
[url=data:text/html,<script>alert(1)</script>]x[/url] -> x
[url=vbscript:msgbox]x[/url] -> x
[url=blob:https://a.example/x]x[/url] -> x
[url=file:///etc/passwd]x[/url] -> x
[url=about:blank]x[/url] -> x
[url=//e.example]x[/url] -> x
[url=\\\\e.example]x[/url] -> x
[url=https:/\\e.example]x[/url] -> x
[url=https://a.example\\@e.example]x[/url] -> x
[url=https://a.example" onclick="alert(1)]x[/url] -> x
[url=https://a.example onclick=x]x[/url] -> x
[url=https://a.example><script>]x[/url] -> x
[url=https://a.example\x0b@e.example]x[/url] -> x
[url=mailto:a@b.example?x="><script>]x[/url] -> x
[url=tel:+7"onclick="x]x[/url] -> x
[url]javascript:alert(1)[/url] -> javascript:alert(1)
[url]data:text/html,x[/url] -> data:text/html,x
[url]java\tscript:x[/url] -> java	script:x
[url]javascript://a.example/%0aalert(1)[/url] -> javascript://a.example/%0aalert(1)
[img]javascript:alert(1)[/img] -> javascript:alert(1)
[img]https://a.example/x"onerror="alert(1)[/img] -> https://a.example/x"onerror="alert(1)
[img]x` onerror=alert(1)[/img] -> x` onerror=alert(1)
[img]tel:+7999[/img] -> tel:+7999
[img]data:image/svg+xml,<svg onload=x>[/img] -> data:image/svg+xml,<svg onload=x>
[img][img]x[/img][/img] -> x
[icon=javascript:alert(1) title=x] -> x
[icon=https://a.example/i"onload="x title=x] -> x
[icon=https://a.example/<script>.png title=x] -> x
[call=javascript:alert(1)]x[/call] -> x
[call]*#06#<b>[/call] -> *#06#<b>
""".strip("\n").split("\n")
RENDERED_ATTACKS = [
    ('[user="><script>]x[/user]', "x"),
    ("[user=<script>alert(1)</script>][/user]", "<script>alert(1)</script>"),
    ("[send=<img src=x onerror=alert(1)>][/send]", "<img src=x onerror=alert(1)>"),
    ('[size=1" onclick="alert(1)]x[/size]', "x"),
    ("[color=red;background:url(javascript:x)]x[/color]", "x"),
    ('[color=red" onclick="alert(1)]x[/color]', "x"),
    ('[icon=https://a.example/i.png title="><script>alert(1)</script>]', ""),
    ("[code]</code></pre><script>x</script>[/code]", "</code></pre><script>x</script>"),
    ("[quote]</blockquote><script>x</script>[/quote]", "</blockquote><script>x</script>"),
    (f"{DASHES}\n<script>x</script> [<b>]\ny\n{DASHES}", "<script>x</script> [<b>]y\n"),
    (">><script>x</script>", "<script>x</script>"),
    ('<img data-code="&lt;script&gt;alert(1)&lt;/script&gt;">', "<script>alert(1)</script>"),
    ('<img data-code="x&#x202e;y" src=x onerror=alert(1)>', "xy"),
    ("https://a.example/'onmouseover=x//", "https://a.example/'onmouseover=x//"),
    ('https://a.example/"onmouseover="x', 'https://a.example/"onmouseover="x'),
    ("https://a.example/<script>x</script>", "https://a.example/<script>x</script>"),
    ("https://a.example/?a=&#34;", "https://a.example/?a=&#34;"),
    ("[b]<b[/b]onclick=alert(1)>", "<bonclick=alert(1)>"),
    ("<[b]script[/b]>alert(1)</script>", "<script>alert(1)</script>"),
    ("[url=https://a.example/[b]onclick=x]y[/url]", "y"),
    ("[url=https://a.example][img]javascript:x[/img][/url]", "javascript:x"),
    ("[url]https://a.b[url=data:x]y[/url]", "[url]https://a.by"),
    ("[img]https://a.example/x onerror=alert(1)[/img]", ""),
]
ATTACKS = [(attack, bbcode._clean(attack)) for attack in TYPED_ATTACKS] + RENDERED_ATTACKS
for line in LABELLED_ATTACKS:
    attack, _, shown = line.rpartition(" -> ")
    ATTACKS.append((attack, shown))
PLACES = [
    *("[b]{}[/b]", "[url={}]x[/url]", "[url]{}[/url]", "[img]{}[/img]", "[code]{}[/code]"),
    *("[url=https://a.example/{}]x[/url]", "[img]https://a.example/{}[/img]", "https://{}"),
    *("[icon={} title={}]", "[icon=https://a.example/i title={}]", "[user={}][/user]"),
    *("[color={}]x[/color]", "[size={}]x[/size]", '<img data-code="{}">', "[call={}]x[/call]"),
    *(DASHES + "\n{} [{}]\nx\n" + DASHES, "[url=mailto:a@b.example?{}]x[/url]", ">>{}", "{}" * 9),
]


@pytest.mark.parametrize(("attack", "shown"), ATTACKS)
def test_an_attack_is_only_text(attack: str, shown: str) -> None:
    assert visible(attack) == shown


@pytest.mark.parametrize("attack", [attack for attack, _ in ATTACKS])
def test_an_attack_is_harmless_in_every_place_of_a_code(attack: str) -> None:
    for place in PLACES:
        visible(place.replace("{}", attack))


def test_nh3_would_stop_what_we_missed() -> None:
    missed = (
        '<script>alert(1)</script><a href="javascript:x" onclick="x" style="x">y</a>'
        '<img src="data:x" onerror="x" class="bb-image evil" loading="eager"><span id="x">z</span>'
        '<a href="/relative">r</a><svg onload="x"></svg><!-- c -->'
    )
    assert sanitizer.SANITIZER.clean(missed) == (
        f'<a {REL}>y</a><img class="bb-image"><span>z</span><a {REL}>r</a>'
    )


# Any text at all

PIECES = [text for text, _ in CODES] + [attack for attack, _ in ATTACKS]
PIECES += ["[b]", "[/b]", "[i]", "[/i]", "[quote]", "[/quote]", "[url=https://a.example]", "[/url]"]
PIECES += ["[code]", "[/code]", "[color=red]", "[/color]", "[img]", "[/img]", "\n>>", "\n"]
PIECES += [f"\n{DASHES}\n"]


@settings(relaxed, max_examples=200)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)), max_size=12).map("".join))
def test_any_mixture_gives_sound_html_and_always_the_same(text: str) -> None:
    page = Page(str(to_html(text)))

    assert page.depth <= nesting.MAX_DEPTH * 4 // 3 + 3
    assert to_html(text) == to_html(text)


OVERRIDES = "\u202a\u202b\u202c\u202d\u202e"
LETTERS = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="[" + OVERRIDES)


@relaxed
@given(st.text(LETTERS | st.just("\n")))
def test_a_plain_text_is_seen_as_it_was_typed(text: str) -> None:
    text = text.replace(">>", "> >")
    assert visible(text) == text


NEARLY = ["a", "я", "あ", "é", "e\u0301", "\u3164", "ª", "²", "7", "8800", "12.05.2026", "www"]
NEARLY += [" ", "\n", "\t", "\u00a0", ".", "..", "a.ru", "e.g.", "http:", "-", "--"]
NEARLY += list(",:;!'\"(_+@&")


@settings(relaxed, max_examples=300)
@given(st.lists(st.sampled_from(NEARLY) | st.characters(), max_size=14).map("".join))
def test_the_short_way_of_a_plain_text_gives_what_the_long_one_gives(text: str) -> None:
    with mock.patch("bbcode.is_plain", return_value=False):
        by_the_long_way = to_html(text)
    assert to_html(text) == by_the_long_way


@pytest.mark.parametrize(
    ("text", "is_plain"),
    [("Hello!", True), ("Сколько стоит доставка?\nЗаказ 1207, 3.5 kg.", True), ("it's me", True),
     ("call 8 800 2000 600", False), ("a.ru", False), ("[b]", False), ("a@b.ru", False),
     ("1 < 2", False), ("https://a.ru", False)],
)  # fmt: skip
def test_most_texts_are_plain(text: str, is_plain: bool) -> None:
    assert bbcode.is_plain(text) == is_plain


@relaxed
@given(st.text(st.sampled_from("[]/=bi \n>-ahtps:.<img\"'&")))
def test_a_text_of_nearly_codes_never_fails(text: str) -> None:
    visible(text)


# Linear time

LONG = "c" * 1900
ADDRESSES = "www.a.ru " * 11_000
WITHOUT_SPACES = r"""
[ [b][i] [/b] [a=[x] [aaaa [quote] [br] [url= [url] [url]= [url]tel:1 [url]tel:1[url]=
[url]https://a[url]= [img]https://a[url]= [img]https://a/c[/img] [url=https://a]x[/url]
http:// https://a/)))))) https://a[a] https://a[a][a [code] [code]x[/code] [/code] 👍
[color=red][b]x[/color][/b] [b][i][u][s][/b][/i][/u][/s]
"""
ENDLESS = WITHOUT_SPACES.split()
ENDLESS += ["[a ", "[img] ", "[call]1 ", "[icon=https://a title=x     ", "http://a\n", ">>\n", "\n"]
ENDLESS += ["<img data-code=", '<img data-code="', '<img """\'', "\x00", "\ud800"]
ENDLESS += ["-" * 20 + end for end in ("\n", "\nA [b]\n", "\t\t\t\tx\n", "\n" + "x" * 99 + "[")]
ENDLESS += ["www.", "www.a.ru/(", "www.a.ru/[", "a@b.ru,", "a.b.c.d.", "лампы.рф ", "ⓐ.ru ", "a@"]
ENDLESS += ["+7 999 ", "8(999)123-45-67 ", "1 2 ", "(1)", "-1-2", "a.b ", "mailto:", "'www.a.ru "]
ENDLESS += ["[url=a[b]c", "[url=a["]
ENDLESS += ['[url=" a', '[url="   ', "[url=https://a.ru: ", "[quote]x[/quote] ", "x[hr]   "]
ENDLESS += ["a@b.c.", "a@b.ru_", "_a@", "x:a.", "[x.ru", "www.a.ru*", "яwww.", "—a.ru", "a.ruя"]
ENDLESS += ["8 912 345 67 89. ", "1/2/3 ", "+375", "12) 8 9 ", "(8 ", "[a=[x y]", "[a[b-c]=1"]
ENDLESS += ["[*]", "[list][*]a", "[table][tr][td]x", "[td]", "[table]a[b]c[/b]", "[ul][li]"]
ENDLESS += ["[list][b][*]x[/b]", "[table][tr][b]x[/tr][/b][/table]", "[url]https://x.example/a b"]
ENDLESS += ["[quote=a]", "[url=/x]y[/url]", "[table][tr][td][list][*]x[/table]", "[list][*]"]
ENDLESS += [f"[url=https://a/{LONG}][b][/url][/b]"]
LENGTHY = [
    "&" * 400_000,  # nh3 alone would take 2 seconds
    "[code]" + "&" * 400_000 + "[/code]",
    "[b" + "\xa0&" * 200_000,
    "[icon=https://a title=" + "&" * 400_000 + "]",
    "[quote]" * 6_000 + "x" + "[/quote]" * 6_000,
    "[b][i]" * 8_000 + "[/b]" * 8_000 + "[/i]" * 8_000,
    "[a=" + "[x]" * 33_000,
    "-" * 100_000,
    "-" * 20 + " " * 99_000 + "x",
    "[icon=https://a title=" + " " * 99_000 + "]",
    "[img]" + " " * 99_000,
    "[call]1" + " " * 99_000,
    "https://a/" + ")" * 99_000,
    "<img " + "x" * 99_000,
    "[timestamp=1 " + " " * 99_000,
]


def seconds_for(text: str) -> float:
    start = time.process_time()
    to_html(text)
    take_signature(text)
    return time.process_time() - start


@pytest.mark.parametrize("piece", ENDLESS)
def test_time_grows_with_the_length_and_no_faster(piece: str) -> None:
    # What else the machine does can only make it longer.
    assert any(grows_no_faster(piece) for _ in range(3))


def grows_no_faster(piece: str) -> bool:
    count = 100_000 // len(piece)
    seconds = seconds_for(piece * count)
    if seconds < 0.1:
        return True
    # A slow machine takes as much longer for harmless addresses.
    if seconds >= 1 and seconds >= 2.5 * seconds_for(ADDRESSES):
        return False
    # Of a quarter a quadratic one would take 16 times as long.
    return seconds < 8 * seconds_for(piece * (count // 4)) + 0.05


@pytest.mark.parametrize("text", LENGTHY, ids=lambda text: text[:20])
def test_a_long_hostile_text_takes_less_than_a_second(text: str) -> None:
    assert any(seconds_for(text) < 1 for _ in range(3))


@pytest.mark.parametrize(
    "start", ["[b]", "[b]a:[/b]", "[b]" + "a:[/b" * 20_000, "[b]a:[/b]" + " " * 100_000]
)
def test_a_signature_is_looked_for_in_linear_time(start: str) -> None:
    text = start + "a:[b]" * 20_000
    began = time.process_time()

    assert take_signature(text) == (None, text)
    assert time.process_time() - began < 0.1


def test_codes_nested_too_deep_are_shown_as_typed() -> None:
    page = Page(str(to_html("[b]" * 5_000 + "x" + "[/b]" * 5_000)))

    assert page.depth == nesting.MAX_DEPTH
    typed = 5_000 - nesting.MAX_DEPTH
    assert page.text == "[b]" * typed + "x" + "[/b]" * typed


def test_overlapping_codes_do_not_multiply_the_text() -> None:
    codes = ["b", "i", "u", "s", "quote", "color=purple", "size=9", "user=1", "send", "put"]
    turn = "x".join(f"[/{code.partition('=')[0]}][{code}]" for code in codes)
    text = "".join(f"[{code}]" for code in codes) + turn * (100_000 // len(turn))

    assert len(to_html(text)) < 5 * len(text)
    visible(text)


@pytest.mark.parametrize(
    ("typed", "seen"),
    [
        (">>", "&gt;&gt;"),
        ("[b][/b]", "[b][/b]"),
        ("[b]\u200b[/b]", "[b]\u200b[/b]"),
        ("[b]\xa0\u3164[/b]", "[b]&nbsp;\u3164[/b]"),
        (f"{'-' * 54}\n{'-' * 54}", f"{'-' * 54}<br>{'-' * 54}"),
    ],
)
def test_codes_around_nothing_are_seen_as_typed(typed: str, seen: str) -> None:
    assert to_html(typed) == seen


def test_two_rules_with_nothing_between_are_no_quote() -> None:
    rule = "-" * 54

    assert to_html(f"text\n{rule}\n{rule}\nend").count(rule) == 2
    assert "blockquote" not in to_html(f"text\n{rule}\n{rule}\nend")


@pytest.mark.parametrize("name", ["", " ", "\n", "\u200b", "\u3164\u2800", "\u0301"])
def test_a_file_without_a_name_that_is_seen_is_called_file(name: str) -> None:
    assert Page(file_html(name, "file", "", 70)).text == "file (70 B)"
