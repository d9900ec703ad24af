"""Wall time of `moonkiln --help`: the price of every shell completion and every forgotten option.

    python benchmarks/bench_help.py

Each run is a process of its own, as a user's is. The best of several counts: the rest is what else the machine did.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BAR_S = 0.3
RUNS = 7
COMMAND = Path(sys.executable).with_name("moonkiln")  # the console script of this environment


def run(runs: int = RUNS) -> dict[str, Any]:
    """The best wall time of `runs` processes, after one that fills the caches."""
    walls = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        done = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, check=True)
        walls.append(time.perf_counter() - began)
        assert "Usage:" in done.stdout, done.stdout
    wall_s = min(walls[1:])
    return {
        "bench": "help",
        "wall_s": round(wall_s, 3),
        "walls_s": [round(each, 3) for each in walls],
        "bar": f"wall_s <= {BAR_S}",
        "passed": wall_s <= BAR_S,
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
