"""What goes to the portal."""

import pytest

from portal.outgoing import portal_name


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("Anna", "Anna"),
        ("Анна-Мария О'Нил", "Анна-Мария О'Нил"),
        ("Jean‑Luc’s 2nd <b>", "Jean Luc's nd b"),
        ("Jose\u0301 Mari\u0301a", "José María"),
        ("हिन्दी", "हिन्दी"),
        ("  many   spaces ", "many spaces"),
        ("x" * 40, "x" * 25),
        ("12345", ""),
        ("😀", ""),
        ("", ""),
    ],
)
def test_a_name_is_made_to_fit_the_portals_rule(typed: str, sent: str) -> None:
    assert portal_name(typed) == sent
