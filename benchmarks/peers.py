"""The slicing peers (PySLM, PrusaSlicer, CuraEngine, Slic3r, trimesh) measured on the same part, if they are installed.

    python benchmarks/peers.py --scripts DIR [--peers DIR]

DIR holds the comparison's scripts (`setup.sh`, `run_all.sh`); `setup.sh` installs the peers, as root, and is left to
you. The default is `../shared/bench_peers`, or the variable MOONKILN_PEERS. Without scripts or peers this says what is
missing and ends with exit code 0: a comparison that cannot be made is no failure.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = Path(os.environ.get("MOONKILN_PEERS", HERE.parent.parent / "shared" / "bench_peers"))
LIMIT_S = 3600.0


def why_not(scripts: Path, peers: Path) -> str | None:
    """What is missing for a comparison, as a sentence; None if it can be made."""
    if not (scripts / "run_all.sh").is_file():
        return f"{scripts} holds no run_all.sh: give the folder of the comparison's scripts with --scripts"
    if not (peers / "v1" / "bin" / "python").is_file():
        return f"the peers are not installed in {peers}: run `PEERS={peers} bash {scripts / 'setup.sh'}` as root"
    return None


def main(words: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description="Measure the slicing peers.")
    parser.add_argument("--scripts", type=Path, default=SCRIPTS, help="where run_all.sh and setup.sh are")
    parser.add_argument("--peers", type=Path, default=HERE / "results" / "peers", help="where the peers are installed")
    parser.add_argument("--what", choices=("first", "rest", "all"), default="first", help="how much of it")
    options = parser.parse_args(words)
    missing = why_not(options.scripts, options.peers)
    if missing:
        print(missing)
        return 0
    out = HERE / "results" / "peers.jsonl"
    out.parent.mkdir(exist_ok=True)
    command = ["bash", str(options.scripts / "run_all.sh"), str(options.peers), options.what]
    subprocess.run(command, env={**os.environ, "OUT": str(out)}, timeout=LIMIT_S, check=True)
    for line in out.read_text(encoding="utf-8").splitlines():
        result = json.loads(line)
        print("  ".join(f"{key} {value}" for key, value in result.items() if not isinstance(value, (dict, list))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
