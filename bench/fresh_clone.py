"""What a newcomer waits for: the stages of `make benchmark` in a fresh clone, in an environment of its own.

    python bench/fresh_clone.py [SUITE]

Clones the committed state beside nothing else, so local results, data and environments do not help.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def stages(suite: str) -> list[tuple[str, list[str]]]:
    command = ".venv/bin/sokbench"
    return [
        ("install (make setup)", ["make", "setup"]),
        (f"run {suite}", [command, "run", suite]),
        (f"run {suite} again", [command, "run", suite]),
        ("audit", [command, "audit", suite]),
        ("tables", [command, "tables"]),
        ("site", [command, "site"]),
    ]


def main() -> None:
    suite = sys.argv[1] if len(sys.argv) > 1 else "quick"
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "sokbench"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        for name, command in stages(suite):
            started = time.monotonic()
            done = subprocess.run(command, cwd=clone, capture_output=True, text=True)
            seconds = time.monotonic() - started
            last = (done.stdout.strip().splitlines() or [""])[-1]
            print(f"{name:<22} {seconds:7.1f} s  exit {done.returncode}  {last}", flush=True)
            if done.returncode:
                sys.exit(done.stderr)


if __name__ == "__main__":
    main()
