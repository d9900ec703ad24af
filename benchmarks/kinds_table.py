"""The table of `docs/reliability.md` that says kind by kind what a campaign came to, from the CSV that it left.

moonkiln hil campaign motion --machine bench_rrf -n 2000 -j 2 --kinds docs/kinds-motion.csv
python benchmarks/kinds_table.py docs/kinds-motion.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

COLUMNS = {
    "kind": "kind",
    "struck": "runs struck",
    "exact": "exact",
    "degraded": "declared",
    "detected": "stopped",
    "bad": "bad",
    "stopped_by": "stopped for it",
    "median_s": "noticed after, median, s",
    "most_s": "at most, s",
}


def table(path: Path) -> str:
    """Markdown, a row a kind; seconds to two places."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = [f"| {' | '.join(COLUMNS.values())} |", f"|---|{'---:|' * (len(COLUMNS) - 1)}"]
    for row in rows:
        cells = [f"{float(row[name]):.2f}" if name.endswith("_s") and row[name] else row[name] for name in COLUMNS]
        lines.append(f"| `{cells[0]}` | {' | '.join(cells[1:])} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write("".join(table(Path(word)) for word in sys.argv[1:]))
