"""Posts of many file parts, and bodies that do not come, against a server with few descriptors.

    python tests/attacks/attack_parts.py

With 1,024 descriptors: (1) requests of 990 one-byte file parts each, to every address, a normal
visitor writing beside them; (2) bodies that are announced and do not come, to every address: silent
ones, a byte a second, and chunked. Prints the most files that the server had open at once, the
answers, and how long a silent body was waited for. Exit status 1 where more than one file a request
was opened, a body was waited for over 60 s, a file stayed, or the visitor had to wait.
"""

import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from bystander import Bystander
from stage import Stage

FEW_DESCRIPTORS = ["sh", "-c", 'ulimit -n 1024; exec "$@"', "sh"]
PARTS = 990
PATHS = ("/ajax", "/handler", "/install", "/")
PARTS_SECONDS = 6.0
SILENT_SECONDS = 60.0  # the longest that a body without a byte may be waited for


def head(path: str, length: int | None, kind: str = "multipart/form-data; boundary=x") -> bytes:
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return (
        f"POST {path} HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n"
        f"Content-Type: {kind}\r\n{size}\r\n\r\n"
    ).encode()


def part(name: str, content: str, file: str = "") -> bytes:
    file = f'; filename="{file}"' if file else ""
    return (
        f'--x\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n{content}\r\n'
    ).encode()


def open_files(stage: Stage) -> int:
    """How many files below the folder of uploads the server's processes have open."""
    assert stage.app is not None
    processes = Path(f"/proc/{stage.app.pid}/task/{stage.app.pid}/children").read_text().split()
    count = 0
    for process in processes:
        for link in Path(f"/proc/{process}/fd").iterdir():
            try:
                count += "/arriving/" in str(link.readlink())
            except OSError:
                continue  # closed meanwhile
    return count


def many_parts(stage: Stage) -> tuple[int, Counter[str]]:
    """Requests of PARTS files whose last byte does not come for a while; the most files open."""
    address = ("127.0.0.1", int(stage.chat.rpartition(":")[2]))
    answers: Counter[str] = Counter()
    most, until = 0, time.monotonic() + PARTS_SECONDS
    parts = b"".join(part(f"file{number}", "x", "a.png") for number in range(PARTS))
    body = part("type", "upload_file") + parts
    while time.monotonic() < until:
        connections = []
        for path in PATHS:
            connection = socket.create_connection(address, timeout=5)
            connections.append(connection)
            try:
                connection.sendall(head(path, len(body) + 7) + body)
            except OSError:
                answers["closed"] += 1
        for _ in range(10):
            most = max(most, open_files(stage))
            time.sleep(0.05)
        for connection in connections:
            connection.setblocking(False)
            try:
                answers[connection.recv(4096)[9:12].decode() or "closed"] += 1
            except OSError:
                answers["none"] += 1
            connection.close()
    return most, answers


def missing_bodies(stage: Stage) -> dict[str, tuple[float, str]]:
    """How long each kind of body was waited for, and what was answered then."""
    address = ("127.0.0.1", int(stage.chat.rpartition(":")[2]))
    begun_file = part("type", "upload_file") + part("file", "x" * 100, "a.png")[:-2]
    form = "application/x-www-form-urlencoded"
    tries: dict[str, tuple[bytes, bytes]] = {}  # the first bytes, and those of each second
    for path in PATHS:
        tries[f"silent {path}"] = (head(path, 500, form), b"")
        tries[f"a byte a second {path}"] = (head(path, 500, form), b"a")
        tries[f"chunked {path}"] = (head(path, None, form), b"1\r\na\r\n")
        tries[f"files {path}"] = (head(path, 900_000) + begun_file, b"a")
    waited: dict[str, tuple[float, str]] = {}

    def wait(name: str, first: bytes, following: bytes) -> None:
        begun = time.monotonic()
        answer = b""
        with socket.create_connection(address, timeout=1) as connection:
            connection.sendall(first)
            while time.monotonic() - begun < SILENT_SECONDS:
                try:
                    answer = connection.recv(4096)
                    break
                except TimeoutError:
                    pass
                except OSError:
                    break
                try:
                    connection.sendall(following)
                except OSError:
                    break
        waited[name] = (time.monotonic() - begun, answer[9:12].decode())

    threads = [threading.Thread(target=wait, args=(name, *one)) for name, one in tries.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return waited


def attack(stage: Stage) -> bool:
    with Bystander(stage.chat) as bystander:
        most, answers = many_parts(stage)
    print(f"{PARTS} parts: the most files open at once {most}, answers {dict(answers)}")
    print(bystander.report())
    with Bystander(stage.chat) as beside:
        waited = missing_bodies(stage)
    for name, (seconds, status) in sorted(waited.items()):
        print(f"  {name}: {seconds:.0f} s, answered {status or 'nothing'}")
    print(beside.report())
    left = list((stage.folder / "chats/files").rglob("*"))
    left = [path for path in left if path.is_file()]
    print(f"files that stayed: {len(left)}")
    longest = max(seconds for seconds, _ in waited.values())
    return (
        most <= len(PATHS)
        and longest < SILENT_SECONDS
        and not left
        and bystander.is_served
        and beside.is_served
    )


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        stage.through = FEW_DESCRIPTORS
        with stage:
            return 0 if attack(stage) else 1


if __name__ == "__main__":
    sys.exit(main())
