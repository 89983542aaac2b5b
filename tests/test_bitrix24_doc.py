"""Every fact about the portal that the code cites stands in docs/bitrix24.md."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage import ROOT

DOC = (ROOT / "docs" / "bitrix24.md").read_text("utf-8")
FEWEST_CITATIONS = 20  # fewer would mean that the pattern finds them no longer
OTHER_FOLDERS = ("build", "chats", "node_modules")

NUMBER = r"\d+(?:\.\d+)*(?: [A-D]\b)?"  # 4, 4.2, 1.2.13, 12 B
NUMBERS = rf"{NUMBER}(?:(?:, and|,| and| to) {NUMBER})*"
# "bitrix24.md section 4", "docs/bitrix24.md, 4.2", and "section 4" without the name of a file.
CITATION = re.compile(
    rf"(?:\bbitrix24\.md,? (?:sections? )?|(?<!\.md )(?<!\.md, )\b[Ss]ections? )({NUMBERS})"
)
SPAN = re.compile(rf"({NUMBER})(?: to ({NUMBER}))?")
LINE_END = re.compile(r"\s*\n\s*(?:(?:#|//|\*)\s*)?")  # with the comment sign of the next line

HEADING = re.compile(rf"^###? ({NUMBER})", re.MULTILINE)
FACT = re.compile(r"^- \*\*(\d+(?:\.\d+)+)\*\*", re.MULTILINE)
MARK = re.compile(r"\*\*\[(?:seen|documented|inferred)\]\*\* ")


def sections_cited(text: str) -> list[str]:
    """The numbers of all sections and facts that a source file cites, ranges written out."""
    found = []
    for numbers in CITATION.findall(LINE_END.sub(" ", text)):
        for first, last in SPAN.findall(numbers):
            if first.isdecimal() and last.isdecimal():
                found += [str(number) for number in range(int(first), int(last) + 1)]
            else:
                found += [first, last] if last else [first]
    return found


def sources() -> Iterator[Path]:
    """The project's own Python and JavaScript, but for this file, whose examples are made up."""
    for place in sorted(ROOT.iterdir()):
        if place.name.startswith(".") or place.name in OTHER_FOLDERS:
            continue
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.suffix in (".py", ".js") and path != Path(__file__):
                yield path


def test_every_section_that_the_code_cites_is_in_the_document() -> None:
    known = {*HEADING.findall(DOC), *FACT.findall(DOC)}
    citations = [
        f"{path.relative_to(ROOT)}: {section}"
        for path in sources()
        for section in sections_cited(path.read_text("utf-8"))
    ]

    assert [one for one in citations if one.partition(": ")[2] not in known] == []
    assert len(citations) >= FEWEST_CITATIONS


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("# bitrix24.md section 6: 1 or 0", ["6"]),
        ("Refused otherwise (bitrix24.md section 12 B).", ["12 B"]),
        ("Shapes: bitrix24.md sections 1, 7 and 8. Knows nothing.", ["1", "7", "8"]),
        ("Sources: docs/bitrix24.md, sections 8, 9.", ["8", "9"]),
        ("Rules of bitrix24.md sections 1 to 3.", ["1", "2", "3"]),
        ("See docs/bitrix24.md, 4.2 and 1.2.13.", ["4.2", "1.2.13"]),
        ("    # as in bitrix24.md\n    # section 9. What happened is kept.", ["9"]),
        ("the leaky bucket (section 9)", ["9"]),
        ("the promises of design.md, section 5", []),
        ('make("section"), 4', []),
    ],
)
def test_a_citation_is_understood_however_it_is_written(text: str, sections: list[str]) -> None:
    assert sections_cited(text) == sections


def test_every_fact_has_a_number_of_its_own_and_one_mark() -> None:
    numbers = FACT.findall(DOC)
    facts = FACT.split(DOC)[2::2]

    assert len(numbers) == len(set(numbers))
    for number, fact in zip(numbers, facts, strict=True):
        assert len(MARK.findall(fact.partition("\n#")[0])) == 1, number
