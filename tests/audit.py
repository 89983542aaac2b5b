"""`make check`'s look for known faults in the libraries we pin; says so where it cannot look."""

import json
import subprocess
import sys
from pathlib import Path

CONSTRAINTS = Path(__file__).parent.parent / "constraints.txt"
SECONDS = 120


def main() -> None:
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(CONSTRAINTS), "--no-deps"]
    command += ["--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "5"]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        libraries = json.loads(result.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        print("pip-audit: not done, its source could not be reached")
        return
    looked_at = [one for one in libraries if "skip_reason" not in one]
    faulty = [one for one in looked_at if one["vulns"]]
    for one in faulty:
        for fault in one["vulns"]:
            cure = ", ".join(fault["fix_versions"]) or "none yet"
            print(f"{one['name']} {one['version']}: {fault['id']}, mended in: {cure}")
    print(f"pip-audit: {len(looked_at)} of {len(libraries)} libraries looked at")
    sys.exit(1 if faulty else 0)


if __name__ == "__main__":
    main()
