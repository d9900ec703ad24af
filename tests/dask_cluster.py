"""A real Dask scheduler and its workers on loopback, each a process, for tests."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
START_S_MAX = 60.0


@dataclass
class DaskCluster:
    """`address` for `--cluster`; `scheduler` and `workers` to kill."""

    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]


@contextlib.contextmanager
def dask_cluster(folder: Path, workers: int = 2, without_moonkiln: bool = False) -> Iterator[DaskCluster]:
    """A scheduler with `workers` workers of two threads each, without nannies: who dies stays dead."""
    paths = [path for path in sys.path if path and not (without_moonkiln and Path(path) in (HERE, HERE.parent))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "DASK_DISTRIBUTED__ADMIN__TICK__LIMIT": "60s"}
    told = folder / "scheduler.json"
    with contextlib.ExitStack() as stack:

        def start(module: str, *words: str) -> subprocess.Popen[bytes]:
            log = stack.enter_context((folder / f"{module}-{len(running)}.log").open("wb"))
            command = [sys.executable, "-m", f"distributed.cli.{module}", *words, "--no-dashboard"]
            process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
            running.append(process)
            return process

        running: list[subprocess.Popen[bytes]] = []
        scheduler = start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(told))
        _wait_until(told.exists, "the scheduler writes its address")
        address = json.loads(told.read_text())["address"]
        started = [
            start(
                "dask_worker", address, "--host", "127.0.0.1", "--no-nanny", "--nthreads", "2", "--memory-limit", "0",
                "--local-directory", str(folder / f"worker{number}"),
            )
            for number in range(workers)
        ]  # fmt: skip
        for number in range(workers):
            log = folder / f"dask_worker-{number + 1}.log"
            _wait_until(lambda log=log: "Registered to" in log.read_text(), f"worker {number} is registered")
        yield DaskCluster(address, scheduler, started)


def _wait_until(is_so, what: str) -> None:
    until = time.monotonic() + START_S_MAX
    while not is_so():
        assert time.monotonic() < until, f"within {START_S_MAX:g} s it was not so that {what}"
        time.sleep(0.05)
