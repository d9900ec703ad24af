"""Does any code of the product look at a real clock, real randomness or a thread behind the event loop's back?

Time is the loop's, randomness is seeded, and there is one thread: that is what makes virtual time and replay possible.
Files that must touch the real thing stand in ADAPTERS with the reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("slicer", "firmware_bridge", "vision", "control", "hil_sim")

ADAPTERS = {  # file: (what of it is allowed, several joined by "|", why)
    "hil_sim/virtual_time.py": ("time", "holds a paced run back to real time"),
    "control/clock.py": ("time", "the one place where the host learns the date"),
    "control/shard_cluster.py": (
        "threading|concurrent.futures",
        "a Dask worker of several threads does one item at a time; Dask's own error",
    ),
    "control/shard_processes.py": ("multiprocessing", "workers beside each other; results come in order"),
    "hil_sim/harness/grant.py": ("time", "an outside process that hangs is told of by real time: virtual time stands"),
    "control/log_file.py": ("concurrent.futures", "one worker waits for the record's disk; not in virtual time"),
    "control/journal_file.py": ("concurrent.futures", "one worker waits for the disk; inline in virtual time"),
    "hil_sim/harness/blocked.py": ("signal", "a host that blocks is told of by real time: virtual time stands"),
    "hil_sim/harness/pool.py": ("time.perf_counter", "what a run of a campaign costs"),
    "hil_sim/harness/serve.py": ("time", "labels the truth of a served world with the date of its start"),
    "slicer/offsets.py": ("threading", "layers in several threads count together what fell back to Clipper2"),
    "slicer/parallel.py": ("concurrent.futures", "layers beside each other; results come in order"),
    "hil_sim/world/build.py": ("concurrent.futures", "one worker solves the bed; inline in virtual time"),
}

CLOCKS = {
    f"time.{name}{suffix}"
    for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time", "clock_gettime")
    for suffix in ("", "_ns")
} | {"time.sleep", "time.localtime", "time.gmtime", "time.ctime", "time.strftime", "time.asctime"}
CLOCKS |= {"signal.setitimer", "signal.alarm"}
DATES = {f"datetime.{name}" for name in ("datetime.now", "datetime.utcnow", "datetime.today", "date.today")}
ENTROPY = {
    "uuid.uuid1", "uuid.uuid4", "os.urandom", "os.getrandom", "random.SystemRandom", "numpy.random.seed",
}  # fmt: skip
FORBIDDEN_NAMES = CLOCKS | DATES | ENTROPY
FORBIDDEN_MODULES = {"threading", "_thread", "multiprocessing", "concurrent.futures", "secrets", "sched", "queue"}
SEEDED = {"random.Random", "numpy.random.default_rng", "numpy.random.Generator", "numpy.random.SeedSequence"}
RANDOM_MODULES = ("random", "numpy.random")
HARMLESS = {"numpy.random.Generator", "numpy.random.PCG64", "numpy.random.SeedSequence", "random.Random"}


def trespasses(source: str) -> Iterator[tuple[int, str]]:
    """(line, what) for every forbidden thing in `source`, whatever name it was imported under."""
    tree = ast.parse(source)
    names = _imported(tree)
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if _module_is_forbidden(alias.name):
                    yield node.lineno, f"import {alias.name}"
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if _module_is_forbidden(node.module) or _module_is_forbidden(full) or full in FORBIDDEN_NAMES:
                    yield node.lineno, f"from {node.module} import {alias.name}"
                elif alias.name == "*" and node.module in ("time", "random", "datetime", "os", "uuid"):
                    yield node.lineno, f"from {node.module} import *"
        elif isinstance(node, (ast.Attribute, ast.Name)) and isinstance(node.ctx, ast.Load) and id(node) not in inner:
            full = _full_name(node, names)
            if full in FORBIDDEN_NAMES:
                yield node.lineno, full
            elif full in SEEDED and id(node) in calls:
                call = calls[id(node)]
                if not call.args and not call.keywords:
                    yield node.lineno, f"{full}() without a seed"
            elif any(full.startswith(module + ".") for module in RANDOM_MODULES) and full not in SEEDED | HARMLESS:
                yield node.lineno, f"{full}: draw from a seeded Random"
            elif any(full == module or full.startswith(module + ".") for module in FORBIDDEN_MODULES):
                yield node.lineno, full


def _module_is_forbidden(name: str) -> bool:
    return any(name == module or name.startswith(module + ".") for module in FORBIDDEN_MODULES)


def _imported(tree: ast.AST) -> dict[str, str]:
    """Local name -> what it stands for, from every import anywhere in the file."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _full_name(node: ast.expr, names: dict[str, str]) -> str:
    """`dt.datetime.now` -> 'datetime.datetime.now' under `import datetime as dt`; '' for what is not imported."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in names:
        return ""
    return ".".join([names[node.id], *reversed(parts)])


def files() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))


def _covers(allowed: str | None, what: str) -> bool:
    return allowed is not None and any(word in what for word in allowed.split("|"))


def strangers(name: str, source: str) -> list[str]:
    """What file `name` may not do, as `name:line: what`."""
    allowed, _ = ADAPTERS.get(name, (None, ""))
    return [f"{name}:{line}: {what}" for line, what in trespasses(source) if not _covers(allowed, what)]


def test_the_five_packages_take_time_randomness_and_threads_from_nowhere_but_the_adapters():
    found = []
    for path in files():
        found += strangers(path.relative_to(REPOSITORY).as_posix(), path.read_text(encoding="utf-8"))
    assert not found, "use loop.time(), loop.rng(name) or Random(seed), and the offload port:\n" + "\n".join(found)


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_every_adapter_still_needs_its_leave(name):
    assert (REPOSITORY / name).is_file(), f"ADAPTERS names {name}, which is gone"
    source = (REPOSITORY / name).read_text(encoding="utf-8")
    assert list(trespasses(source)), f"{name} needs no leave any more: strike it from ADAPTERS"


def test_an_adapter_may_do_only_what_it_is_there_for():
    assert not strangers("control/clock.py", "import time\ntime.time()")
    assert strangers("control/clock.py", "import threading")


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.time()",
        "import time as t\nt.monotonic()",
        "from time import monotonic as m\nm()",
        "from time import sleep",
        "import time\nclock = time.perf_counter",
        "def f():\n    import time\n    return time.perf_counter_ns()",
        "from time import *",
        "import datetime\ndatetime.datetime.now()",
        "import datetime as dt\ndt.datetime.utcnow()",
        "from datetime import datetime\ndatetime.now(None)",
        "from datetime import date as d\nd.today()",
        "import random\nrandom.random()",
        "from random import choice\nchoice([1])",
        "import random\nrandom.Random()",
        "from random import Random as R\nR()",
        "import random\nrandom.SystemRandom()",
        "import numpy as np\nnp.random.rand(3)",
        "import numpy as np\nnp.random.default_rng()",
        "from numpy.random import default_rng\ndefault_rng()",
        "import uuid\nuuid.uuid4()",
        "from uuid import uuid4",
        "import os\nos.urandom(8)",
        "from os import urandom as u",
        "import secrets",
        "from secrets import token_hex",
        "import threading",
        "from threading import Thread",
        "import multiprocessing.pool",
        "from concurrent.futures import ThreadPoolExecutor",
        "from concurrent import futures",
        "import concurrent.futures as cf",
        "import queue",
    ],
)
def test_each_form_is_caught(source):
    assert list(trespasses(source)), source


@pytest.mark.parametrize(
    "source",
    [
        "import asyncio\nasyncio.get_running_loop().time()",
        "from random import Random\nRandom(7).random()",
        "import random\ndef f(rng: random.Random):\n    return rng.random()",
        "import numpy as np\ndef f(rng: np.random.Generator):\n    return np.random.default_rng(3)",
        "import datetime\ndatetime.datetime.fromtimestamp(0, datetime.UTC)",
        "def sleep(time):\n    return time.time()",
        "import os\nos.environ",
        "from asyncio import sleep, Queue",
    ],
)
def test_what_is_allowed_passes(source):
    assert not list(trespasses(source)), source
