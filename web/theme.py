"""The page's colours, made from the company's: text in that colour and on it can be read.

Contrast is computed as in WCAG 2.2. Pure functions; knows neither Flask nor the settings.
"""

LEAST = 4.5  # contrast of text and ground (WCAG 2.2, 1.4.3)
# The surfaces of tokens.css on which the colour is written: bubbles, ground, field.
LIGHT = ("#fbfbfb", "#ccf2ff", "#efebe3", "#ffffff")
DARK = ("#222c31", "#134b5b", "#12191c", "#1b2428")
WHITE, BLACK = "#ffffff", "#000000"

Theme = dict[str, str]


def themes(accent: str) -> tuple[Theme, Theme]:
    """The colours of tokens.css that follow from `accent` (#rrggbb), for light and for dark."""
    light = _theme(accent, bar=accent, ink=_readable(accent, BLACK, LIGHT))
    dark = _theme(accent, bar=mix(accent, DARK[2], 0.6), ink=_readable(accent, WHITE, DARK))
    return light, dark


def theme_css(accent: str) -> str:
    light, dark = (
        ";".join(f"--{name}:{value}" for name, value in theme.items()) for theme in themes(accent)
    )
    return f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"


def _theme(accent: str, bar: str, ink: str) -> Theme:
    on_bar = on(bar)
    return {
        "accent": ink,
        "fill": accent,
        "on-fill": on(accent),
        "bar": bar,
        "on-bar": on_bar,
        "quiet-on-bar": _readable(mix(on_bar, bar, 0.25), on_bar, (bar,)),
    }


def on(color: str) -> str:
    """White if it can be read on the colour; else black, which then always can be read."""
    return WHITE if contrast(WHITE, color) >= LEAST else BLACK


def contrast(color: str, other: str) -> float:
    dark, light = sorted((_luminance(color), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def mix(color: str, other: str, share: float) -> str:
    """The colour mixed with another, which makes `share` (0 to 1) of the result."""
    parts = zip(_channels(color), _channels(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in parts)


def _readable(color: str, toward: str, surfaces: tuple[str, ...]) -> str:
    """The nearest shade toward black or white that can be read on all the surfaces."""
    shades = (mix(color, toward, step / 40) for step in range(40))
    return next((s for s in shades if min(contrast(s, o) for o in surfaces) >= LEAST), toward)


def _channels(color: str) -> list[int]:
    return [int(color[at : at + 2], 16) for at in (1, 3, 5)]


def _luminance(color: str) -> float:
    shares = (channel / 255 for channel in _channels(color))
    red, green, blue = (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
