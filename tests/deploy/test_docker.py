"""What deploy/'s Dockerfile and compose file say is done by hand, for no Docker runs in the tests.

The files that it copies, its user, its command, its settings and volumes, behind a real Caddy with
the environment that the compose file gives it. Not tried: the base image, `pip install` in it, the
network between the containers.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from front import DEPLOY, Caddy
from install_browser import find_caddy
from stage import ROOT, Stage, wait_until

from storage import is_of_server
from store.postgresql_faults import OLDEST

HOME = "/opt/sitechat"
NOBODY = 65_534
# Reads all, because Python may be in a folder of root's, and writes only what is its own.
READ = "-all,+dac_read_search"
AS_NOBODY = [
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"),
    *(f"--inh-caps={READ}", f"--ambient-caps={READ}", f"--bounding-set={READ}"),
]
TEXT = (DEPLOY / "Dockerfile").read_text("utf-8")
STEPS = re.findall(r"^([A-Z]+) (.+)$", TEXT, re.MULTILINE)
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
ON_SERVER: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.postgresql.yaml").read_text("utf-8"))


def may_be_nobody() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("setpriv") is not None


def steps(name: str) -> list[str]:
    return [rest for step, rest in STEPS if step == name]


def copied() -> Iterator[tuple[Path, str]]:
    """Each file that the image gets, and where in the home folder."""
    for step in steps("COPY"):
        *sources, target = step.split()
        for pattern in sources:
            found = sorted(ROOT.glob(pattern))
            assert found, pattern
            for path in found:
                if path.is_file():
                    yield path, f"{target}{path.name}"
                else:
                    inner = [one for one in path.rglob("*") if one.is_file()]
                    yield from ((one, f"{target}{one.relative_to(path)}") for one in inner)


def tracked() -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(listed.stdout.split("\n")) - {""}


def test_the_image_has_all_of_the_product_and_nothing_else() -> None:
    names = {str(path.relative_to(ROOT)) for path, _ in copied() if "__pycache__" not in path.parts}
    if (ROOT / ".git").exists():
        names &= tracked()  # new files that belong to nobody are none of the product's
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {
        "tests",
        "sandbox",
        "bench",
    }
    folders |= {"locales", "static", "templates"}
    expected = {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } | {path.name for path in ROOT.glob("*.py")}
    assert expected - names == set()
    outside = names - expected
    assert outside == {"pyproject.toml", "constraints.txt", "config.toml", "README.md", "LICENSE"}


def test_no_secret_file_gets_into_the_image() -> None:
    targets = {target for _, target in copied()}
    assert not {one for one in targets if re.search(r"\.env|local\.toml|\.db|chats/", one)}


def test_the_two_files_agree() -> None:
    chat, caddy = COMPOSE["services"]["chat"], COMPOSE["services"]["caddy"]
    folder = (DEPLOY / chat["build"]["context"]).resolve()
    assert folder == ROOT
    assert (folder / chat["build"]["dockerfile"]).read_text("utf-8") == TEXT
    assert steps("WORKDIR") == [HOME]
    assert [one.rpartition(":")[2] for one in chat["volumes"]] == steps("VOLUME")
    (port,) = steps("EXPOSE")
    assert caddy["environment"]["CHAT_UPSTREAM"] == f"chat:{port}"
    assert f"0.0.0.0:{port}" in json.loads(steps("CMD")[0])
    assert (DEPLOY / caddy["volumes"][0].split(":")[0]).exists()
    assert {*COMPOSE["volumes"]} == {
        one.split(":")[0]
        for service in (chat, caddy)
        for one in service["volumes"]
        if not one.startswith(".")
    }


def test_the_image_can_use_a_database_and_the_second_file_has_one() -> None:
    chat, db = ON_SERVER["services"]["chat"], ON_SERVER["services"]["db"]
    (install,) = [step for step in steps("RUN") if step.startswith("pip install")]
    assert "'.[postgresql]'" in install
    with (ROOT / "pyproject.toml").open("rb") as file:
        assert "postgresql" in tomllib.load(file)["project"]["optional-dependencies"]
    # Variables as `docker compose` puts them in.
    text = re.sub(r"\$\{POSTGRES_PASSWORD:\?[^}]+\}", "s3cret", json.dumps(ON_SERVER))
    url = json.loads(text)["services"]["chat"]["environment"]["SITECHAT_STORAGE__URL"]
    environment = json.loads(text)["services"]["db"]["environment"]
    assert url == (
        f"postgresql://{environment['POSTGRES_USER']}:{environment['POSTGRES_PASSWORD']}@db"
        f"/{environment['POSTGRES_DB']}"
    )
    assert is_of_server(url)
    assert chat["depends_on"] == {"db": {"condition": "service_healthy"}}
    assert "ports" not in db, "nobody outside can reach it"
    assert int(db["image"].removeprefix("postgres:")) >= OLDEST
    assert {one.split(":")[0] for one in db["volumes"]} == {*ON_SERVER["volumes"]}
    assert not {*COMPOSE["services"]} & {"db"}


@pytest.mark.skipif(not may_be_nobody(), reason="only root may, with setpriv")
@pytest.mark.skipif(find_caddy() is None, reason="there is no Caddy")
def test_what_the_image_runs_serves_behind_caddy(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for path, target in copied():
        (home / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, home / target)
    (made,) = [step for step in steps("RUN") if step.startswith("install -d")]
    command = shlex.split(made.replace("-o sitechat -g sitechat", f"-o {NOBODY} -g {NOBODY}"))
    subprocess.run(command, cwd=home, check=True)
    stage = Stage(tmp_path)
    with Caddy(tmp_path / "caddy", stage.chat) as proxy:
        stage.settings = {
            **COMPOSE["services"]["chat"]["environment"],
            "SITECHAT_PUBLIC_URL": proxy.url,
            "SSL_CERT_FILE": proxy.authority,
        }
        environment = stage.environment()
        for name in ("SITECHAT_STORAGE__URL", "SITECHAT_STORAGE__FILES", "WEB_CONCURRENCY"):
            del environment[name]
        program, *arguments = json.loads(steps("CMD")[0])
        arguments = [one.replace("0.0.0.0:8080", proxy.upstream) for one in arguments]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                [*AS_NOBODY, sys.executable, "-m", program, *arguments],
                cwd=home,
                env=environment | {"HOME": HOME},
                stderr=log,
                process_group=0,
            )
        try:
            stage._wait(stage.start_sandbox(), f"{stage.portal}/sandbox/state")
            stage._wait(process, f"{stage.chat}/static/icon.svg")
            stage.install()
            page = requests.Session()
            page.trust_env, page.verify = False, proxy.authority
            form = {"type": "send_message", "name": "Ann", "message": "hello"}
            answer = page.post(f"{proxy.url}/ajax", form, timeout=30)
            assert answer.status_code == 200, answer.text
            wait_until(lambda: stage.state()["dialogs"])
            page.close()
            database = home / "chats" / "chats.db"
            assert database.stat().st_uid == NOBODY
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0, (tmp_path / "log").read_text("utf-8")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            stage.__exit__()
