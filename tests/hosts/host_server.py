"""A web server with one small page for each kind of site that the chat has to live with."""

import shutil
import subprocess
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

from stage import ROOT

from addresses import origin_of

PAGES = Path(__file__).parent / "pages"
BUILD = ROOT / "build" / "hosts"  # where npm installs; git does not see it
DEBIAN = Path("/usr/share/javascript")  # libraries that npm has not, as Debian packs them
REACTS = ("18", "19")
SAME_PAGE = dict.fromkeys(("isolated", "strict"), "plain")  # which differ in their headers alone
ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}


def has_npm() -> bool:
    return shutil.which("npm") is not None and shutil.which("node") is not None


@cache
def build() -> None:
    """Install the libraries and bundle the React pages, for the browser and for the server."""
    BUILD.mkdir(parents=True, exist_ok=True)
    shutil.copy(PAGES.parent / "package.json", BUILD)
    run("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--legacy-peer-deps")
    for version in REACTS:
        bundle = partial(bundled, version)
        bundle("hydrate.jsx", f"react{version}/shop.js", "--format=iife", "--minify")
        bundle("render.jsx", f"render{version}.cjs", "--platform=node")


def bundled(version: str, source: str, target: str, *options: str) -> None:
    packages = [
        f"--alias:{name}={BUILD}/node_modules/{name}{version}" for name in ("react", "react-dom")
    ]
    run(
        *("node_modules/.bin/esbuild", str(PAGES / source), f"--outfile={target}", "--bundle"),
        *('--define:process.env.NODE_ENV="production"', "--jsx=automatic", "--log-level=error"),
        *packages,
        *options,
    )


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=BUILD, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Hosts:
    """Serves `/NAME/…` from `pages/NAME.html`, React's pages as its server writes them."""

    def __init__(self) -> None:
        self.chat = ""
        self.hangs = Event()  # set when what never comes may come
        hosts = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/hang.png":
                    hosts.hangs.wait()
                    path = "/strict/"
                content = hosts.file(path)
                kind = "text/javascript" if path.endswith(".js") else "text/html; charset=utf-8"
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Type", kind)
                for name, value in hosts.headers(path).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://localhost:{self.server.server_port}"  # a site apart from 127.0.0.1
        Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.hangs.set()
        self.server.shutdown()
        self.server.server_close()

    def headers(self, path: str) -> dict[str, str]:
        chat = origin_of(self.chat)
        policy = (
            f"default-src 'none'; script-src {chat}; frame-src {chat}; base-uri 'none';"
            " require-trusted-types-for 'script'; trusted-types 'none'"
        )
        return {"isolated": ISOLATED, "strict": {"Content-Security-Policy": policy}}.get(
            path.split("/")[1], {}
        )

    def file(self, path: str) -> bytes | None:
        _, name, *rest = path.split("/")
        if name == "lib":
            return (BUILD / "node_modules" / "/".join(rest)).read_bytes()
        if name == "debian":
            return (DEBIAN / "/".join(rest)).read_bytes()
        if name.startswith("react"):
            if rest == ["shop.js"]:
                return (BUILD / name / "shop.js").read_bytes()
            return run("node", f"render{name[5:]}.cjs", self.chat).encode()
        page = PAGES / f"{SAME_PAGE.get(name, name)}.html"
        if not page.exists():
            return None
        return page.read_text("utf-8").replace("CHAT", self.chat).replace("PATH", path).encode()
