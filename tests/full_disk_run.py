"""Run by `test_full_disk.py` in a mount namespace of its own: a print whose real disk really fills up half way.

python full_disk_run.py JOB FOLDER     # FOLDER is a small file system; prints what came of it, as JSON
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from crash_helpers import blindfold, run_faulty

from control.host import Outcome, print_host, read_outcome
from control.journal import Journal

FILLED_AT_S = 12.5  # the first layer is being exposed then


def fill(path: Path) -> None:
    """Take the last byte there is."""
    with open(path, "wb", buffering=0) as filler:
        for size in (65536, 4096, 1):
            try:
                while True:
                    filler.write(bytes(size))
            except OSError:
                continue


async def host(job: Path, machine_toml: Path, run_dir: Path) -> Outcome:
    """A host whose neighbour on the disk takes all of it, and gives it back when the host has ended."""
    filler = run_dir.parent / "filler"
    asyncio.get_running_loop().call_at(FILLED_AT_S, fill, filler)
    try:
        return await print_host(job, machine_toml, run_dir)
    finally:
        filler.unlink()


def main(job: Path, folder: Path) -> None:
    """Print, and say what came of it."""
    with pytest.MonkeyPatch.context() as patch:
        blindfold(patch)
        result = run_faulty(job, folder / "run", host=host).result
    journal = Journal.open(folder / "run" / "run.sqlite")
    said = [text for _, _, _, text in journal.events()]
    journal.close()
    status = read_outcome(folder / "run").status.value
    print(json.dumps({"verdict": result.verdict.value, "status": status, "events": said, "sim_s": result.sim_s}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
