"""Campaigns over many processes, here or on a Dask cluster: `control.shards`, which `moonkiln slice` uses too.

    for rows in in_batches(judge_batch, seeds, cluster="tcp://10.0.0.1:8786"): ...

A batch is a handful of seeds, so that a run of milliseconds does not cost a message of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from control.shards import InterruptedShards, ShardError, reach_cluster, run_items

__all__ = ["InterruptedShards", "ShardError", "in_batches", "reach_cluster"]

Item = TypeVar("Item")
Result = TypeVar("Result")

BATCH_MAX = 25
CLUSTER_WORKERS = 16
"""So many a cluster is taken to have when seeds are cut into batches; how many there are is seen only later."""


def in_batches(
    work: str | Callable[[Sequence[Item]], list[Result]],
    items: Sequence[Item],
    *,
    jobs: int = 1,
    cluster: str | None = None,
    batch_max: int = BATCH_MAX,
    environment: Mapping[str, str] | None = None,
) -> Iterator[list[Result]]:
    """`work(batch)` over all items, at most `batch_max` at once; batches come in order, whoever did them.

    Args: as `control.shards.run_items`. Raises: as it does. A batch whose worker died is worked again from its
    beginning.
    """
    workers = jobs if cluster is None else CLUSTER_WORKERS
    size = max(1, min(batch_max, -(-len(items) // (4 * workers))))
    batches = [items[start : start + size] for start in range(0, len(items), size)]
    return run_items(work, batches, jobs=jobs, cluster=cluster, environment=environment)
