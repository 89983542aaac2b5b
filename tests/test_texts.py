"""What people read is there in every language, and in the same shape."""

import re
import string

import pytest

from texts import DEFAULT, LOCALES, all_texts, languages, text

Keys = dict[str, set[str]]


def placeholders(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


def all_placeholders(language: str) -> Keys:
    """`section.key` and the placeholders of its text."""
    return {
        f"{section}.{key}": placeholders(template)
        for section, texts in all_texts(language).items()
        for key, template in texts.items()
    }


def test_english_and_russian_are_both_there() -> None:
    assert {"en", "ru"} <= set(languages())
    assert all_texts("en") != all_texts("ru")


def test_all_languages_have_the_same_sections() -> None:
    for language in languages():
        assert list(all_texts(language)) == list(all_texts(DEFAULT)), language


def test_all_languages_have_the_same_keys_with_the_same_placeholders() -> None:
    for language in languages():
        assert all_placeholders(language) == all_placeholders(DEFAULT), language


@pytest.mark.parametrize("language", languages())
def test_no_text_is_empty(language: str) -> None:
    for section, texts in all_texts(language).items():
        assert texts, section
        for key, template in texts.items():
            assert isinstance(template, str), f"{section}.{key}"
            assert template.strip(), f"{section}.{key}"


@pytest.mark.parametrize("language", languages())
def test_placeholders_are_plain_names(language: str) -> None:
    """`{0}`, `{}` and `{a.b}` would be filled by order or reach into objects."""
    for key, names in all_placeholders(language).items():
        assert all(name.isidentifier() for name in names), f"{key}: {names}"


def test_every_text_that_the_pages_name_is_there_and_no_other() -> None:
    """By its key, or by a state's name behind a prefix."""
    root = LOCALES.parent
    code = "".join(
        path.read_text("utf-8")
        for pattern in ("templates/*.html", "static/*.js", "web/*.py")
        for path in root.glob(pattern)
    )
    named = set(re.findall(r"\btexts\.([a-z_0-9]+)", code))
    prefixes = tuple(re.findall(r"""\btexts\[[`']([a-z]+_)""", code))
    texts = all_texts(DEFAULT)
    keys = {*texts["chat"], *texts["page"]}

    assert named - keys == set()
    unnamed = {key for key in keys if not re.search(rf"\b{key}\b", code)}
    assert {key for key in unnamed if not key.startswith(prefixes)} == set()


def test_a_text_gets_its_values() -> None:
    filled = text("en", "errors.message_long", length=20_001, limit=20_000)

    assert "20001" in filled
    assert "20000" in filled
    assert "{" not in filled


def test_a_language_we_do_not_have_gets_the_default() -> None:
    assert all_texts("xx") == all_texts(DEFAULT)
    assert all_texts("../config") == all_texts(DEFAULT)


def test_the_scripts_are_given_every_text_that_they_name() -> None:
    static = LOCALES.parent / "static"
    code = "".join(path.read_text("utf-8") for path in static.glob("*.js"))

    assert set(re.findall(r"\btexts\.([a-z_0-9]+)", code)) <= set(all_texts(DEFAULT)["chat"])
