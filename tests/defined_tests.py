"""Which tests a file defines, for pages and tables that name them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path


@cache
def defined_in(path: Path) -> frozenset[str]:
    """Names of the test functions at a file's top level.

    Read as text: a tree of the whole file costs a hundred times as much, and Python 3.11 refuses to build one when its
    garbage collector happens to build another meanwhile (a SystemError of its recursion depth).
    """
    return frozenset(re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE))
