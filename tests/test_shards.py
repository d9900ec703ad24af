"""Does a map over processes give what a plain map gives, whatever dies, errs or is interrupted meanwhile?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import shard_work

from control.errors import MoonkilnError, UsageError
from control.shards import AHEAD, Ended, LostItemError, Reply, ShardError, check_cluster, code_mark, run_items
from hil_sim.harness.cluster import in_batches

HERE = Path(__file__).parent


def test_results_are_those_of_a_plain_map_whatever_the_number_of_processes():
    plain = [number * number for number in range(8)]

    assert list(run_items("shard_work:square_slower_first", range(8))) == plain
    assert list(run_items("shard_work:square_slower_first", range(8), jobs=3)) == plain


def test_work_is_done_in_as_many_processes_as_were_asked_for():
    pids = {pid for _, pid in run_items(shard_work.where, range(12), jobs=2)}

    assert len(pids) == 2 and os.getpid() not in pids


def test_while_an_early_item_takes_long_only_so_many_later_ones_are_done():
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(2000):
            taken.append(number)
            yield number

    results = run_items(shard_work.slow_zero, items(), jobs=2)
    assert next(results) == 0

    assert len(taken) == 2 * AHEAD
    results.close()


def test_an_item_whose_process_is_killed_is_done_by_another(tmp_path):
    items = [(number, str(tmp_path)) for number in range(8)]

    assert list(run_items(shard_work.die_once, items, jobs=2)) == [number * number for number in range(8)]
    tries = {number: len((tmp_path / f"tried-{number}").read_text()) for number in range(8)}
    assert tries == {number: 2 if number == 3 else 1 for number in range(8)}  # its neighbours are not done again


def test_an_item_whose_process_is_told_to_end_is_done_by_another(tmp_path):
    items = [(number, str(tmp_path)) for number in range(8)]

    assert list(run_items(shard_work.told_to_end_once, items, jobs=2)) == [number * number for number in range(8)]
    assert (tmp_path / "told").exists()


def test_an_item_that_kills_every_worker_is_told_of_in_its_place():
    results = run_items(shard_work.die_always, range(4), jobs=2, tries=2)

    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(LostItemError, match=r"item 2 .* each of the 2 workers that took it died \(signal 9\)"):
        next(results)


def test_what_stands_for_a_lost_item_can_be_given():
    results = run_items(shard_work.die_always, range(4), jobs=2, tries=1, on_lost=lambda item, why: (item, why[:6]))

    assert list(results) == [0, 1, (2, "item 2"), 3]


def test_an_error_of_the_work_comes_where_its_result_would_have_come():
    results = run_items(shard_work.refuse_seven, range(12), jobs=2)

    assert [next(results) for _ in range(7)] == list(range(7))
    with pytest.raises(MoonkilnError, match="seven is refused") as raised:
        next(results)
    assert (raised.value.exit_code, raised.value.figures) == (4, {"number": 7})
    assert "refuse_seven" in "".join(raised.value.__notes__)  # the line in the worker


def test_an_error_that_cannot_travel_comes_as_a_sentence():
    with pytest.raises(ShardError, match="Odd: something"):
        list(run_items(shard_work.odd_error, range(2), jobs=2))


def test_work_that_never_ends_is_given_up_and_named():
    results = run_items(shard_work.wait_for_ever, range(6), jobs=2, stall_s_max=1.5)

    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ShardError, match=r"no item ended for 1\.5 s; under way are items 3, 4"):
        next(results)


class Deserted:
    """A crew whose workers have gone after the first `done` items; they are back after `back_s`. Its waits cost no
    time, and are counted.
    """

    tries = 1

    def __init__(self, done: int, back_s: float = float("inf")) -> None:
        self.done, self.back_s = done, back_s
        self.put_in: list[int] = []
        self.waited_s = 0.0
        self.is_closed = False

    def width(self) -> int:
        return 3

    def put(self, index: int, item: int) -> None:
        self.put_in.append(index)

    def take(self, wait_s: float) -> list[Ended]:
        able = [index for index in self.put_in if index in (0, 2)][: self.done] if self.done else []
        self.done -= len(able)
        if self.waited_s >= self.back_s:
            able = list(self.put_in)
        for index in able:
            self.put_in.remove(index)
        self.waited_s += 0.0 if able else wait_s
        return [Ended(index, index * 10) for index in able]

    def absent(self) -> str | None:
        return "--cluster x has had no worker left" if self.waited_s <= self.back_s else None

    def close(self) -> None:
        self.is_closed = True


def test_a_cluster_without_workers_is_told_of_each_minute_and_given_up_with_what_was_done(capsys, monkeypatch):
    crew = Deserted(done=2)
    monkeypatch.setattr("control.shards._crew", lambda *words: crew)
    results = run_items(shard_work.square, range(6), cluster="tcp://x")

    assert next(results) == 0
    with pytest.raises(ShardError, match="has had no worker left, for 600 s; under way are items 1, 3") as given_up:
        next(results)
    assert crew.waited_s == 600.0 and crew.is_closed
    assert list(given_up.value.done) == [(2, 20)]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 10 and "for 30 s: it is given up after 600 s" in said[0] and "for 90 s" in said[1]


def test_workers_that_come_back_go_on(capsys, monkeypatch):
    crew = Deserted(done=0, back_s=40.0)
    monkeypatch.setattr("control.shards._crew", lambda *words: crew)

    assert list(run_items(shard_work.square, range(3), cluster="tcp://x")) == [0, 10, 20]
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_worker_that_runs_other_code_is_refused():
    Reply(code_mark(), 1).ended(0, "here")
    with pytest.raises(ShardError, match="Install the same moonkiln"):
        Reply("moonkiln 000000 on Python 3.9, numpy 2", 1).ended(0, "here")


@pytest.mark.parametrize("work", ["shard_work", "shard_work:nothing", "no_such_module:f", "shard_work:HERE"])
def test_a_name_that_is_no_function_is_refused_before_anything_starts(work):
    with pytest.raises(UsageError, match="cannot be called"):
        run_items(work, range(3), jobs=2)


def test_seeds_give_the_same_rows_however_they_are_cut_into_batches_and_spread():
    plain = shard_work.judge(list(range(60)))

    for jobs, batch_max in ((1, 25), (2, 25), (3, 4)):
        spread = in_batches("shard_work:judge", range(60), jobs=jobs, batch_max=batch_max)
        assert [row for batch in spread for row in batch] == plain
    assert len({row[1:] for row in plain}) == 60  # and they depend on the seed


INTERRUPTED = """
import sys
import time
from control.shards import InterruptedShards, run_items
if __name__ == "__main__":
    done = []
    try:
        for value in run_items("shard_work:announce_and_wait", [(n, sys.argv[1]) for n in range(200)], jobs=2):
            done.append(value)
    except InterruptedShards as stop:
        assert all(value == index * index for index, value in stop.done)
        assert done == [n * n for n in range(len(done))]
        print("report", len(done), flush=True)
"""


def test_ctrl_c_leaves_what_is_done_and_no_process_behind(tmp_path):
    script = tmp_path / "campaign.py"
    script.write_text(INTERRUPTED)
    marks = tmp_path / "marks"
    marks.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)])}
    process = subprocess.Popen(
        [sys.executable, str(script), str(marks)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    for _ in range(600):  # the fourth is begun when at least one is done, and then the process waits for its workers
        if process.poll() is not None or len(list(marks.iterdir())) >= 4:
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    out, err = process.communicate(timeout=60)

    assert "report" in out and process.returncode == 0, err
    assert err == ""
    pids = {int(mark.name.split("-")[1]) for mark in marks.iterdir()}
    assert len(pids) == 2 and not any(_is_alive(pid) for pid in pids)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_cluster_without_dask_is_told_of_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)

    with pytest.raises(UsageError, match=r"needs Dask.*pip install 'moonkiln\[cluster\]'"):
        next(run_items(shard_work.square, range(2), cluster="tcp://127.0.0.1:8786"))


@pytest.mark.parametrize(
    "address",
    ["nonsense", "", "tcp://", "tcp://here", "tcp://here:", "tcp://:8786", "tcp://here:0", "tcp://here:99999",
     "http://here:8786", "tcp://a b:8786", "tcp://here:8786:1", "here:8786"],
)  # fmt: skip
def test_an_address_that_can_be_no_schedulers_is_refused_before_anybody_is_asked(address, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"give the address of a Dask scheduler as tcp://HOST:PORT"):
        next(run_items(shard_work.square, range(2), cluster=address))


@pytest.mark.parametrize("address", ["tcp://10.0.0.1:8786", "tls://scheduler.lab:8786", "tcp://[::1]:8786/"])
def test_an_address_of_a_scheduler_is_taken(address):
    check_cluster(address)
