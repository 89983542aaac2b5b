"""Runs all attacks one after another, or those whose names hold one of the given words.

Each is a program of its own and prints its figures; this one says in the end which promise was
broken. They take some twenty minutes, and want a machine that does nothing else.
"""

import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent
LONGEST_SECONDS = 1_200  # of one attack


def main(words: list[str]) -> int:
    broken = []
    for attack in sorted(FOLDER.glob("attack_*.py")):
        name = attack.stem.removeprefix("attack_")
        if words and not any(word in name for word in words):
            continue
        print(f"== {name}", flush=True)
        began = time.monotonic()
        try:
            command = [sys.executable, str(attack)]
            root = FOLDER.parent.parent
            ended = subprocess.run(command, cwd=root, timeout=LONGEST_SECONDS, check=False)
            status = ended.returncode
        except subprocess.TimeoutExpired:
            status = -1
        print(f"== {name}: exit status {status} after {time.monotonic() - began:.0f} s", flush=True)
        if status:
            broken.append(name)
    print("all promises held" if not broken else f"broken: {', '.join(broken)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
