"""Does a Dask cluster give what this process gives, and does it lose nothing with a worker?"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import shard_work

from control.errors import MoonkilnError, UsageError
from control.shards import LostItemError, ShardError, run_items
from hil_sim.harness.cluster import in_batches

pytestmark = pytest.mark.real_time  # a scheduler and its workers are timed by their own heartbeats

HERE = Path(__file__).parent

DASK_ONLY = pytest.importorskip("distributed", reason="no Dask here: pip install 'moonkiln[cluster]'")

from dask_cluster import dask_cluster  # noqa: E402 - after the skip


def test_a_killed_worker_loses_nothing_and_results_are_those_of_one_process(tmp_path):
    items = [(number, str(tmp_path)) for number in range(16)]
    with dask_cluster(tmp_path) as cluster:
        results = run_items(shard_work.announce_and_wait, items, cluster=cluster.address)
        first = [next(results) for _ in range(4)]
        cluster.workers[0].kill()
        assert first + list(results) == [number * number for number in range(16)]

    pids = [int(mark.name.split("-")[1]) for mark in tmp_path.glob("*-[0-9]*[0-9]") if mark.is_file()]
    assert {worker.pid for worker in cluster.workers} <= set(pids)  # both worked


def test_a_killed_scheduler_is_told_of(tmp_path):
    items = [(number, str(tmp_path)) for number in range(16)]
    with dask_cluster(tmp_path) as cluster:
        results = run_items(shard_work.announce_and_wait, items, cluster=cluster.address)
        first = [next(results) for _ in range(4)]
        cluster.scheduler.kill()
        with pytest.raises(ShardError, match=f"{cluster.address} has forgotten what it was given: the scheduler was"):
            first += results
    assert first == [number * number for number in range(len(first))]


def test_seeds_judged_on_a_cluster_give_the_rows_of_this_process(tmp_path):
    with dask_cluster(tmp_path) as cluster:  # two workers of two threads, and a run has its process to itself
        spread = in_batches("shard_work:judge", range(60), cluster=cluster.address, batch_max=5)
        assert [row for batch in spread for row in batch] == shard_work.judge(list(range(60)))


def test_errors_of_the_work_come_as_they_are_and_fatal_items_are_told_of(tmp_path):
    with dask_cluster(tmp_path, workers=5) as cluster:
        results = run_items(shard_work.refuse_seven, range(12), cluster=cluster.address)
        assert [next(results) for _ in range(7)] == list(range(7))
        with pytest.raises(MoonkilnError, match="seven is refused"):
            next(results)
        with pytest.raises(LostItemError, match="item 2 was not done"):  # Dask gives it up after four workers
            list(run_items(shard_work.die_always, range(3), cluster=cluster.address))


def test_workers_without_moonkiln_are_told_of(tmp_path):
    with dask_cluster(tmp_path, workers=1, without_moonkiln=True) as cluster:  # noqa: SIM117
        with pytest.raises(ShardError, match="need the same moonkiln"):
            list(run_items(shard_work.square, range(2), cluster=cluster.address))


def test_a_cluster_without_workers_is_refused(tmp_path):
    with dask_cluster(tmp_path, workers=0) as cluster, pytest.raises(UsageError, match="has no workers"):
        next(run_items(shard_work.square, range(2), cluster=cluster.address))


def test_an_address_where_nobody_answers_is_refused(monkeypatch):
    monkeypatch.setattr("control.shard_cluster.CONNECT_S_MAX", 1.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UsageError, match="no Dask scheduler answers there"):
            next(run_items(shard_work.square, range(2), cluster=f"tcp://127.0.0.1:{taken.getsockname()[1]}"))
