"""Make sure that there is a Chromium for the browser tests, or say why there is none.

One that is installed is used; else Debian's package where we may install it, else Playwright's.
"""

import os
import shutil
import subprocess
import sys

FIREFOXES = ("firefox-esr", "firefox")
# The first is the same Chromium without a window's parts: the tests take two thirds of the time.
NAMES = (
    *("chromium-headless-shell", "chromium", "chromium-browser"),
    *("google-chrome", "google-chrome-stable"),
)
PACKAGES = ("chromium-headless-shell", "chromium")


def find_chromium() -> str | None:
    """The browser to test with: SITETEST_CHROMIUM, one on the PATH, or Playwright's own."""
    named = os.environ.get("SITETEST_CHROMIUM")
    if named:
        return named
    for name in NAMES:
        if path := shutil.which(name):
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if os.path.exists(path) else None


def find_firefox() -> str | None:
    """A Firefox to test with as well; it is not installed where there is none."""
    named = os.environ.get("SITETEST_FIREFOX")
    return named or next(filter(None, map(shutil.which, FIREFOXES)), None)


def install() -> None:
    if hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        print("installing Chromium with apt-get ...")
        apt_get("update", "-qq")
        any(apt_get("install", "-y", "-qq", package) for package in PACKAGES)
    if find_chromium() is None:
        print("installing Playwright's Chromium ...")
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)


def apt_get(*command: str) -> bool:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    result = subprocess.run(
        ["apt-get", *command], env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode:
        print(result.stdout[-2000:], result.stderr[-2000:], file=sys.stderr)
    return result.returncode == 0


if __name__ == "__main__":
    if find_chromium() is None:
        install()
    if find_chromium() is None:
        sys.exit(
            "The browser tests need Chromium and it could not be installed (see above).\n"
            "Install it (Debian and Ubuntu: apt-get install chromium), or name one:\n"
            "SITETEST_CHROMIUM=/path/to/chromium make test"
        )
