"""Addresses and telephones that stand in a text without a code become links, whole and alone."""

import re

import pytest
from test_bbcode import link, visible

from bbcode import to_html

PHONES = r"""
+7 (495) 123-45-67 2 этаж -> +7 (495) 123-45-67 -> +74951234567
+7 495 123-45-67 10-18 -> +7 495 123-45-67 -> +74951234567
+7 (495) 123 - 45 - 67 -> +7 (495) 123 - 45 - 67 -> +74951234567
+7 495 123 — 45 — 67 -> +7 495 123 — 45 — 67 -> +74951234567
+7 495 123-45-67/68 -> +7 495 123-45-67 -> +74951234567
+7(495)123-45-67,123-45-68 -> +7(495)123-45-67 -> +74951234567
+44 20 7946 0958 10-18 -> +44 20 7946 0958 -> +442079460958
(8-800-555-35-35) -> 8-800-555-35-35 -> 88005553535
(8 800 555 35 35) -> 8 800 555 35 35 -> 88005553535
(8 495) 123-45-67 -> (8 495) 123-45-67 -> 84951234567
8 800 555 - 35 - 35 -> 8 800 555 - 35 - 35 -> 88005553535
8.800.555.35.35 -> 8.800.555.35.35 -> 88005553535
79991234567 -> 79991234567 -> +79991234567
7 495 123-45-67 -> 7 495 123-45-67 -> +74951234567
8 800 555 35 35 24/7 -> 8 800 555 35 35 -> 88005553535
10-18 8 912 345 67 89 -> 8 912 345 67 89 -> 89123456789
1) 8 912 345 67 89 -> 8 912 345 67 89 -> 89123456789
2. 8 912 345 67 89 -> 8 912 345 67 89 -> 89123456789
в 10 8 800 555 35 35 -> 8 800 555 35 35 -> 88005553535
8 800 555-35-35-звонок -> 8 800 555-35-35 -> 88005553535
8 912 345 67 89. 5 минут -> 8 912 345 67 89 -> 89123456789
8 912 345 67 89:Иван -> 8 912 345 67 89 -> 89123456789
8 800 555 35 35 -> 8 800 555 35 35 -> 88005553535
8 800 555 35 35 -> 8 800 555 35 35 -> 88005553535
8−800−555−35−35 -> 8−800−555−35−35 -> 88005553535
(495) 123-45-67 -> (495) 123-45-67 -> 4951234567
8 912 345 67 89 8 912 345 67 90 -> 8 912 345 67 89 -> 89123456789
""".strip().splitlines()
NO_PHONES = r"""
+10 000 000 рублей|89 990 000 000 руб|+1 000 000 $|+1200000|+15 12 2026|(100) 1 000 000 руб
(2026) 12 05 10 11|01.02.03.04.05|артикул 100-200-3000|№ 89991234567|договор 89001234567
+7 (495) 123|+7 495 123-45-678|8.9512345678|2200 7001 8923 4567 890|8 912 345 67 89Иван
от 8 900 - 9 500 000 руб
""".strip().replace("\n", "|")


@pytest.mark.parametrize("line", PHONES)
def test_a_telephone_is_dialled_whole_and_nothing_beside_it(line: str) -> None:
    typed, shown, number = re.sub(r"\\u(....)", lambda code: chr(int(code[1], 16)), line).split(
        " -> "
    )

    assert link(f"tel:{number}", shown) in to_html(typed)
    assert visible(typed) == typed


@pytest.mark.parametrize("text", NO_PHONES.split("|"))
def test_another_number_is_no_telephone(text: str) -> None:
    assert to_html(text) == text


def test_a_line_break_ends_a_telephone() -> None:
    assert "<a" not in to_html("+7 (495) 123 -\n45 - 67")


BARE = r"""
«ivan@mail.ru» -> ivan@mail.ru
„ivan@mail.ru“ -> ivan@mail.ru
[ivan@mail.ru] -> ivan@mail.ru
*ivan@mail.ru* -> ivan@mail.ru
E-mail:ivan@mail.ru -> ivan@mail.ru
📧ivan@mail.ru -> ivan@mail.ru
—ivan@mail.ru -> ivan@mail.ru
|ivan@mail.ru| -> ivan@mail.ru
иван@почта.рф -> иван@почта.рф
почта@site.ru -> почта@site.ru
a@x.ru,b@x.ru -> a@x.ru b@x.ru
i.p+x@mail.co.uk. -> i.p+x@mail.co.uk
_i_p@x.ru_ -> i_p@x.ru
Сайт:www.a.ru -> www.a.ru
сайт:a.ru -> a.ru
a.ru:8080/x:y -> a.ru:8080/x:y
_www.a.ru_ -> www.a.ru
www.a.ru|www.b.ru -> www.a.ru www.b.ru
site.app -> site.app
🌐www.a.ru -> www.a.ru
www.a.ru👈 -> www.a.ru
www.a.ru→www.b.ru -> www.a.ru www.b.ru
нашсайтwww.a.ru -> www.a.ru
www.a.ruспасибо -> www.a.ru
дом.москва/x -> дом.москва/x
Mail.Ru -> Mail.Ru
https://a.ru/a—текст -> https://a.ru/a
https://a.ru/Я_—_я -> https://a.ru/Я_—_я
https://a.ru/a,https://b.ru -> https://a.ru/a https://b.ru
https://a.ru。谢谢 -> https://a.ru
https://a.ru/&quot; -> https://a.ru/
г.Москва ->
вопрос.Онлайн ->
готово.Сайт ->
слово.ком ->
thank you.It ->
г.рф ->
a@b@c.ru ->
""".strip().splitlines()


@pytest.mark.parametrize("line", BARE)
def test_a_bare_address_is_found_beside_any_sign_and_ends_where_it_ends(line: str) -> None:
    typed, _, shown = line.partition(" ->")

    assert re.findall(r"<a [^>]*>([^<]*)</a>", to_html(typed)) == shown.split()
    assert visible(typed) == typed
