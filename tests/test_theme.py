"""The company's colour: whatever it is, what stands on it and what is written in it can be read."""

import random
import re

import pytest
from stage import ROOT

from web.theme import DARK, LIGHT, theme_css, themes

ODD = ("#ffff00", "#ffd400", "#000000", "#ffffff", "#777777", "#757575", "#ff0000", "#00ff00",
       "#0000ff", "#c8102e", "#00e5ff", "#f5f5dc")  # fmt: skip


def luminance(color: str) -> float:
    """Of WCAG 2.2, written once more: the code is not its own witness."""
    value = int(color[1:], 16)
    total = 0.0
    for shift, weight in ((16, 0.2126), (8, 0.7152), (0, 0.0722)):
        part = (value >> shift & 255) / 255
        total += weight * (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4)
    return total


def ratio(one: str, other: str) -> float:
    a, b = luminance(one) + 0.05, luminance(other) + 0.05
    return max(a, b) / min(a, b)


def colors() -> list[str]:
    chance = random.Random(1)
    return [*ODD, *(f"#{chance.randrange(1 << 24):06x}" for _ in range(300))]


def test_everything_can_be_read_in_any_colour() -> None:
    for accent in colors():
        for theme, surfaces in zip(themes(accent), (LIGHT, DARK), strict=True):
            assert ratio(theme["on-fill"], theme["fill"]) >= 4.5, accent
            assert ratio(theme["on-bar"], theme["bar"]) >= 4.5, accent
            assert ratio(theme["quiet-on-bar"], theme["bar"]) >= 4.5, accent
            assert min(ratio(theme["accent"], one) for one in surfaces) >= 4.5, accent


def test_a_colour_that_can_be_read_stays_as_it_is() -> None:
    light, _ = themes("#7a1f5c")

    assert light["accent"] == light["fill"] == light["bar"] == "#7a1f5c"


@pytest.mark.parametrize("color", [*LIGHT, *DARK])
def test_the_surfaces_are_those_of_the_style(color: str) -> None:
    css = (ROOT / "static" / "tokens.css").read_text()
    surfaces = re.findall(r"--(?:theirs|ours|ground|field): (.+);", css)

    assert color.replace("#ffffff", "#fff") in surfaces


def test_the_rules_are_for_both_themes() -> None:
    css = theme_css("#ffd400")

    assert css.count("--fill:#ffd400") == 2
    assert "prefers-color-scheme:dark" in css
    assert not re.search(r"[^-#:;{}()@\w]", css)
