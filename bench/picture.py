"""The picture of the table: bars in plain SVG, for light and dark pages, readable at 800 pixels."""

from collections.abc import Sequence
from html import escape

from bench.results import Row, rounded

WIDTH, LEFT, BAR_LEFT, BAR_WIDTH = 800, 24, 190, 470
BAR, GAP, TITLE, AFTER = 18, 5, 30, 20
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
STYLE = """
  .back { fill: #ffffff; } text { fill: #1f2328; } .quiet { fill: #59636e; }
  .ours { fill: #0d6e7e; } .other { fill: #b6bec8; } .track { fill: #f1f3f5; }
  @media (prefers-color-scheme: dark) {
    .back { fill: #0d1117; } text { fill: #e6edf3; } .quiet { fill: #9198a1; }
    .ours { fill: #3fb8cc; } .other { fill: #59636e; } .track { fill: #1a2029; }
  }
"""


def _text(x: float, y: float, text: str, kind: str = "", size: int = 14, more: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}"{style}{more}>{escape(text)}</text>'


def _bars(row: Row, names: Sequence[str], top: float) -> list[str]:
    """The bars of a row; the longest one fills the width."""
    longest = max(row.figures.values())
    lines = []
    for place, name in enumerate(name for name in names if name in row.figures):
        y = top + place * (BAR + GAP)
        width = max(2.0, BAR_WIDTH * row.figures[name] / longest) if longest else 2.0
        kind = "ours" if name.startswith("ours") else "other"
        at = f'x="{BAR_LEFT}" y="{y:.0f}" height="{BAR}" rx="3"'
        lines += [
            _text(LEFT, y + 14, name),
            f'<rect {at} width="{BAR_WIDTH}" class="track"/>',
            f'<rect {at} width="{width:.1f}" class="{kind}"/>',
            _text(BAR_LEFT + BAR_WIDTH + 10, y + 14, rounded(row.figures[name])),
        ]
    return lines


def picture(rows: Sequence[Row], names: Sequence[str], caption: str) -> str:
    """An SVG of the rows that have a title for it."""
    lines: list[str] = []
    y = 20.0
    for row in (row for row in rows if row.pictured and row.figures):
        better = "less is better" if row.less_is_better else "more is better"
        lines.append(_text(LEFT, y + 16, row.pictured, size=15, more=' font-weight="600"'))
        right = ' text-anchor="end"'
        lines.append(_text(WIDTH - LEFT, y + 16, better, "quiet", 12, right))
        lines += _bars(row, names, y + TITLE)
        y += TITLE + len(row.figures) * (BAR + GAP) + AFTER
    lines.append(_text(LEFT, y + 6, caption, "quiet", 12))
    height = y + 24
    label = escape("Bars: " + "; ".join(row.pictured for row in rows if row.pictured))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}"'
    head += f' width="{WIDTH}" font-family="{FONT}" role="img" aria-label="{label}">'
    back = f'<rect class="back" width="{WIDTH}" height="{height:.0f}" rx="8"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", back, *lines, "</svg>", ""])
