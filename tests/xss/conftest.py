"""The fixtures of the tests of hostile texts: watched browsers, with the policy and without."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from xss_parts import Watch


@pytest.fixture
def watch(browser: Browser) -> Iterator[Watch]:
    context = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 900})
    yield Watch(context)
    context.close()


@pytest.fixture
def unprotected(browser: Browser) -> Iterator[Watch]:
    """A browser that does not heed the Content-Security-Policy."""
    context = browser.new_context(
        bypass_csp=True, locale="en-GB", viewport={"width": 1280, "height": 900}
    )
    yield Watch(context)
    context.close()
