"""26 uploads that grow at once on a small disk, and then a disk that is full.

    python tests/attacks/attack_disk.py

The store and the files lie on a disk of 600 MB in memory, which only root may mount; two worker
processes. (1) 26 uploads of 19 MB each grow side by side; the least free space is watched. (2) The
disk is filled to the last byte, and everything that writes is asked: each must answer 503 with the
reason. (3) The disk is freed: everything works again. Prints the least free space, the answers, and
what is left on the disk. Exit status 1 where the reserve was used, an answer was another, a part of
a file stayed, or a normal visitor waited during (1).
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import requests
from attack_parts import part
from bystander import Bystander
from stage import Stage

from store.file_folder import RESERVE_BYTES

DISK_MB = 600
UPLOADS = 26
REASONS = {"en": "disk is full", "ru": "диск заполнен"}
PIECES, PIECE = 76, 256 << 10  # 19 MB


def watch(folder: Path, stop: threading.Event, least: list[int]) -> None:
    while not stop.wait(0.005):
        least[0] = min(least[0], shutil.disk_usage(folder).free)


def body() -> Iterator[bytes]:
    """An upload that takes some seconds, in pieces."""
    yield part("type", "upload_file") + part("file", "", "a.pdf")[:-2]
    for _ in range(PIECES):
        yield bytes(PIECE)
        time.sleep(0.03)
    yield b"\r\n--x--\r\n"


class Growing:
    """The body with its length, so that `requests` announces it."""

    def __init__(self) -> None:
        self.len = sum(map(len, (part("type", "upload_file"), part("file", "", "a.pdf")[:-2])))
        self.len += PIECES * PIECE + len(b"\r\n--x--\r\n")

    def __iter__(self) -> Iterator[bytes]:
        return body()


def upload(stage: Stage, answers: Counter[str]) -> None:
    try:
        answer = requests.post(
            f"{stage.chat}/ajax",
            data=Growing(),
            headers={"Content-Type": "multipart/form-data; boundary=x"},
            timeout=60,
        )
        answers[f"{answer.status_code} {answer.json()['result'].get('error', '')}"] += 1
    except requests.RequestException as error:
        answers[type(error).__name__] += 1


def grow(stage: Stage, disk: Path) -> tuple[int, Counter[str]]:
    """The least free space while all uploads grew, and their answers."""
    least, stop, answers = [1 << 60], threading.Event(), Counter[str]()
    threading.Thread(target=watch, args=(disk, stop, least)).start()
    threads = [threading.Thread(target=upload, args=(stage, answers)) for _ in range(UPLOADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    return least[0], answers


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 20))
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1))
    return ballast


def fill_log(stage: Stage) -> int:
    """Write until the store takes nothing more: SQLite uses again what it has on the disk."""
    for number in range(3_000):
        answer = stage.visitor().post(type="send_message", message="x" * 9_000)
        if answer.status_code != 200:
            return number
    return -1


def ask_all(stage: Stage, cookies: requests.cookies.RequestsCookieJar) -> dict[str, str]:
    """What each writing request is answered, in two languages."""
    found = {}
    picture = {"file": ("a.pdf", b"%PDF" + os.urandom(300_000))}
    tries: dict[str, tuple[dict[str, str], Any, Any]] = {
        "first message": ({"type": "send_message", "message": "x" * 9000}, None, None),
        "message": ({"type": "send_message", "message": "x" * 9000}, None, cookies),
        "upload": ({"type": "upload_file"}, picture, cookies),
        "deletion": ({"type": "delete_conversation", "sure": "yes"}, None, cookies),
    }
    for name, (fields, files, jar) in tries.items():
        for language, reason in REASONS.items():
            headers = {"Accept-Language": language, "Accept": "application/json"}
            answer = requests.post(
                f"{stage.chat}/ajax", fields, files=files, cookies=jar, headers=headers, timeout=30
            )
            said = answer.json()["result"].get("error_description", "")
            found[f"{name}, {language}"] = verdict(answer.status_code, said, reason)
    installed = stage.press("install")
    found["install"] = verdict(installed["status"], installed["body"], REASONS["en"])
    return found


def verdict(status: int, said: str, reason: str) -> str:
    return f"{status} {'with' if reason in said.lower() else 'without'} its reason"


def attack(stage: Stage, disk: Path) -> bool:
    with Bystander(stage.chat) as bystander:
        least, answers = grow(stage, disk)
    print(f"{UPLOADS} uploads: {dict(answers)}; least free space {least >> 20} MB")
    print(bystander.report())
    arriving = list((disk / "chats/files/arriving").glob("*"))
    print(f"parts of files that stayed: {len(arriving)}")
    visitor = stage.visitor()
    visitor.send("before")
    ballast = fill(disk)
    print(f"messages that the full disk still took: {fill_log(stage)}")
    found = ask_all(stage, visitor.http.cookies)
    for name, said in found.items():
        print(f"  full disk: {name}: {said}")
    arriving += list((disk / "chats/files/arriving").glob("*"))
    ballast.unlink()
    works = visitor.post(type="send_message", message="after").status_code
    print(f"after the disk was freed: {works}")
    return (
        least >= RESERVE_BYTES
        and bystander.is_served
        and not arriving
        and works == 200
        and all(said == "503 with its reason" for said in found.values())
    )


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        disk = Path(folder) / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(disk)]
        if subprocess.run(mount, check=False).returncode:
            print("a disk in memory cannot be mounted: left out")
            return 0
        try:
            with Stage(disk, workers=2, SITECHAT_LIMITS__ADDRESS_PER_MINUTE="100000") as stage:
                return 0 if attack(stage, disk) else 1
        finally:
            subprocess.run(["umount", "--lazy", str(disk)], check=False)


if __name__ == "__main__":
    sys.exit(main())
