"""Each part of `make fuzz` begins, ends, and finds nothing within a moment."""

import pytest
from fuzz import PARTS

SECONDS = 1.0


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_the_fuzz_runs(part: str) -> None:
    assert list(PARTS[part](SECONDS, 1)) == []
