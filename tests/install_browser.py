"""Make sure that there is a Chromium for the browser tests, or say why there is none.

One that is installed is used; else Debian's package where we may install it, else Playwright's.
Firefox, WebKit (the engine of Safari), nginx and Caddy are installed where apt-get may do so;
elsewhere their tests are left out, and the head of the run says so.
"""

import os
import shutil
import subprocess
import sys
from functools import cache

FIREFOXES = ("firefox-esr", "firefox")
# The first is the same Chromium without a window's parts: the tests take two thirds of the time.
# All others keep an embedded page from its storage, in which some tests of the embedded chat look.
NAMES = (
    *("chromium-headless-shell", "chromium", "chromium-browser"),
    *("google-chrome", "google-chrome-stable"),
)
PACKAGES = ("chromium-headless-shell", "chromium")
WEBKIT_PROGRAMS = ("WebKitWebDriver", "Xvfb")  # WebKitGTK has no headless mode
WEBKIT_PACKAGES = ("webkit2gtk-driver", "xvfb")
MOOTOOLS = "/usr/share/javascript/mootools"
NGINX_PROGRAMS = ("nginx", "openssl")
SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin"  # not on every user's PATH


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
    """A Firefox to test with as well."""
    named = os.environ.get("SITETEST_FIREFOX")
    return named or next(filter(None, map(shutil.which, FIREFOXES)), None)


def find_webkit() -> str | None:
    """The WebDriver of a WebKitGTK to test with as well, where a screen for it can be had, too."""
    return shutil.which(WEBKIT_PROGRAMS[0]) if all(map(shutil.which, WEBKIT_PROGRAMS)) else None


def find_nginx() -> str | None:
    """An nginx to put in front of the application, where a certificate for it can be made."""
    path = f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_FOLDERS}"
    found = [shutil.which(program, path=path) for program in NGINX_PROGRAMS]
    return found[0] if all(found) else None


def find_caddy() -> str | None:
    """A Caddy to put in front of the application as well."""
    return shutil.which("caddy")


def find_mootools() -> str | None:
    """The folder of MooTools, which npm has without the part for browsers."""
    return MOOTOOLS if os.path.isdir(MOOTOOLS) else None


@cache
def find_node() -> str | None:
    """A Node to test scripts with; an older one does not take our modules for modules."""
    node = shutil.which("node")
    if node is None:
        return None
    command = [node, "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    numbers = said.strip().removeprefix("v").split(".")[:2]
    version = tuple(int(number) for number in numbers if number.isdigit())
    is_new_enough = version >= (22, 7) or (20, 19) <= version < (21, 0)
    return node if is_new_enough else None


def may_use_apt() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get") is not None


def is_best(path: str | None) -> bool:
    """Whether it is the Chromium to test with: the one that was named, or the first of NAMES."""
    return bool(path) and path in (os.environ.get("SITETEST_CHROMIUM"), shutil.which(NAMES[0]))


def install_chromium() -> None:
    if may_use_apt():
        print("installing Chromium with apt-get ...")
        apt_get("update", "-qq")
        packages = PACKAGES if find_chromium() is None else PACKAGES[:1]
        any(apt_get("install", "-y", "-qq", package) for package in packages)
    if find_chromium() is None:
        print("installing Playwright's Chromium ...")
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)


def install(name: str, *packages: str) -> None:
    """Install another engine, without which its tests are left out."""
    print(f"installing {name} with apt-get ...")
    apt_get("update", "-qq")
    apt_get("install", "-y", "-qq", "--no-install-recommends", *packages)


def apt_get(*command: str) -> bool:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    result = subprocess.run(
        ["apt-get", *command], env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode:
        print(result.stdout[-2000:], result.stderr[-2000:], file=sys.stderr)
    return result.returncode == 0


if __name__ == "__main__":
    if find_chromium() is None or (may_use_apt() and not is_best(find_chromium())):
        install_chromium()
    if find_firefox() is None and may_use_apt():
        install("Firefox", FIREFOXES[0])
    if find_webkit() is None and may_use_apt():
        install("WebKitGTK", *WEBKIT_PACKAGES)
    if find_nginx() is None and may_use_apt():
        install("nginx", "nginx-light", "openssl")
    if find_caddy() is None and may_use_apt():
        install("Caddy", "caddy")
    if find_mootools() is None and may_use_apt():
        install("MooTools", "libjs-mootools")
    if find_chromium() is None:
        sys.exit(
            "The browser tests need Chromium and it could not be installed (see above).\n"
            "Install it (Debian and Ubuntu: apt-get install chromium), or name one:\n"
            "SITETEST_CHROMIUM=/path/to/chromium make test"
        )
