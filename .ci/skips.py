"""Fail when a test was skipped that `tests/allowed_skips.txt` does not list; print what was skipped."""

from __future__ import annotations

import re
import sys
from pathlib import Path

log = Path(sys.argv[1]).read_text(encoding="utf-8", errors="replace")
allowed = [
    line.partition("#")[0].strip()
    for line in Path("tests/allowed_skips.txt").read_text(encoding="utf-8").splitlines()
    if line.partition("#")[0].strip()
]
skipped = re.findall(r"^SKIPPED \[\d+\] (.+)$", log, flags=re.MULTILINE)
refused = [line for line in skipped if not any(pattern in line for pattern in allowed)]
for line in skipped:
    print("skipped:", line)
if refused:
    sys.exit(f"{len(refused)} skips are not in tests/allowed_skips.txt: {refused}")
print(f"{len(skipped)} skips, all allowed")
