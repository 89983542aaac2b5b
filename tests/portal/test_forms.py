"""Forms are decoded as PHP would, whatever they hold."""

from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.forms import MAX_DEPTH, MAX_FIELDS, BadRequest, Form, decode_form
from rest.php import php_form


@pytest.mark.parametrize(
    ("body", "form"),
    [
        ("", {}),
        ("&&a=1&", {"a": "1"}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("a=b=c", {"a": "b=c"}),
        ("a=1+2%2B3", {"a": "1 2+3"}),
        ("a=%D0%BF%F0%9F%98%80", {"a": "п😀"}),
        ("a=1;b=2", {"a": "1;b=2"}),
        ("a=1&a=2", {"a": "2"}),
        ("A=1&a=2", {"A": "1", "a": "2"}),
        ("a[b]=1", {"a": {"b": "1"}}),
        ("a%5Bb%5D=1", {"a": {"b": "1"}}),
        ("a[b][c]=1&a[b][d]=2&a[e]=3", {"a": {"b": {"c": "1", "d": "2"}, "e": "3"}}),
        ("a[0]=x&a[1]=y", {"a": {"0": "x", "1": "y"}}),
        ("a[7]=x", {"a": {"7": "x"}}),
        ("a[b.c d]=1", {"a": {"b.c d": "1"}}),
        ("a[п]=1", {"a": {"п": "1"}}),
        ("a[]=x&a[]=y", {"a": {"0": "x", "1": "y"}}),
        ("a[][b]=x&a[][b]=y", {"a": {"0": {"b": "x"}, "1": {"b": "y"}}}),
        ("a[b][]=x&a[b][]=y", {"a": {"b": {"0": "x", "1": "y"}}}),
        # An empty index is one more than the greatest number so far, and never takes a place.
        ("a[1]=x&a[]=y", {"a": {"1": "x", "2": "y"}}),
        ("a[5]=x&a[]=y", {"a": {"5": "x", "6": "y"}}),
        ("a[b]=x&a[]=y", {"a": {"b": "x", "0": "y"}}),
        # A later value wins, also over a whole branch, and a branch over a value.
        ("a[b]=1&a=2", {"a": "2"}),
        ("a=1&a[b]=2", {"a": {"b": "2"}}),
        ("a[b]=1&a[b][c]=2", {"a": {"b": {"c": "2"}}}),
        ("a[b][c]=1&a[b]=2", {"a": {"b": "2"}}),
        # No name, no field; what follows a closed index is ignored.
        ("=1", {}),
        ("[a]=1", {}),
        ("a[b]c=1", {"a": {"b": "1"}}),
        ("a[b]c[d]=1", {"a": {"b": "1"}}),
        ("a[b][c=1", {"a": {"b": "1"}}),
    ],
)
def test_a_form_is_decoded_as_php_does(body: str, form: Form) -> None:
    assert decode_form(body.encode()) == form


@pytest.mark.parametrize(
    "body",
    [b"a=%FF", b"%FF=a", b"a=\xff", b"\xff=a", b"a=%D0", b"a=%ED%A0%80", b"a=%C0%80", b"a[%FF]=1"],
)
def test_a_form_that_is_not_utf8_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="UTF-8"):
        decode_form(body)


@pytest.mark.parametrize("body", [b"a=1%002", b"a%00=1", b"a[%00]=1", b"a=1\x002"])
def test_a_form_with_a_nul_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="NUL"):
        decode_form(body)


def test_a_form_may_be_as_deep_as_the_limit_and_no_deeper() -> None:
    deepest = "a" + "[b]" * (MAX_DEPTH - 1)

    assert decode_form(f"{deepest}=1".encode())["a"]["b"]

    with pytest.raises(BadRequest, match="deeper"):
        decode_form(f"{deepest}[b]=1".encode())
    with pytest.raises(BadRequest, match="deeper"):
        decode_form(f"{deepest}{'[]' * 5_000}=1".encode())


def test_a_form_may_have_as_many_fields_as_the_limit_and_no_more() -> None:
    fields = [f"a[{number}]=x" for number in range(MAX_FIELDS + 1)]

    assert len(decode_form("&".join(fields[:-1]).encode())["a"]) == MAX_FIELDS
    with pytest.raises(BadRequest, match="fields"):
        decode_form("&".join(fields).encode())


@given(st.binary(max_size=200) | st.text("ab[]=&%0.+ ", max_size=60).map(str.encode))
def test_no_body_breaks_the_decoder(body: bytes) -> None:
    try:
        form = decode_form(body)
    except BadRequest:
        return
    assert isinstance(form, dict)


KEYS = st.text("abzAZ09_йя", min_size=1, max_size=5).map(lambda key: f"k{key}")
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
SCALARS = TEXTS | st.integers() | st.booleans() | st.none()
NESTED = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=15,
)


def as_php_sees_it(value: Any) -> Any:
    """Lists have become dicts by index, scalars text; None and what is empty has gone."""
    if isinstance(value, list):
        value = {str(index): item for index, item in enumerate(value)}
    if isinstance(value, dict):
        seen = {key: as_php_sees_it(item) for key, item in value.items()}
        return {key: item for key, item in seen.items() if item is not None} or None
    if isinstance(value, bool):
        return "1" if value else "0"
    return None if value is None else str(value)


def depth(value: Any) -> int:
    children = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, children), default=0) if isinstance(value, dict | list) else 0


@given(st.dictionaries(KEYS, NESTED, max_size=5).filter(lambda data: depth(data) <= MAX_DEPTH))
def test_what_we_flatten_is_decoded_to_the_same(data: dict[str, Any]) -> None:
    body = urlencode(list(php_form(data))).encode()

    assert decode_form(body) == (as_php_sees_it(data) or {})
