"""Workers of `control.shards` on a Dask cluster (the extra `moonkiln[cluster]`).

Dask gives an item whose worker died to another, as often as its scheduler's `allowed-failures` says. A worker does one
item at a time, whatever number of threads it was started with: a simulated run owns its process.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from typing import Any

from control.errors import UsageError
from control.shards import Ended, Reply, ShardError, answer, check_cluster

CONNECT_S_MAX = 10.0
AHEAD_OF_WORKERS = 2
"""Items on their way to each worker: it need not wait for the next one."""

_ONE_AT_A_TIME = threading.Lock()


class ClusterCrew:
    """The workers that a Dask scheduler has at the moment."""

    tries = 1  # Dask has tried already

    def __init__(self, function: Callable[[Any], Any], address: str) -> None:
        check_cluster(address)
        try:
            import distributed
        except ModuleNotFoundError as error:
            raise UsageError(
                f"--cluster {address} needs Dask, and {error.name} is not installed: pip install 'moonkiln[cluster]'"
            ) from error
        self._dask = distributed
        self._address = address
        self._function = pickle.dumps(function)
        self._under_way: dict[Any, int] = {}
        self._puts = 0
        try:
            self._client = distributed.Client(address, timeout=CONNECT_S_MAX, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:  # distributed raises TypeError for a strange scheme
            raise UsageError(
                f"--cluster {address}: no Dask scheduler answers there ({error}). Start one with `dask scheduler`, and"
                " give its address as tcp://HOST:PORT"
            ) from error
        self._name = f"moonkiln-{self._client.id}"
        if not self._client.nthreads():
            self._client.close()
            raise UsageError(f"--cluster {address} has no workers: start some with `dask worker {address}`")

    def width(self) -> int:
        """Two for each worker that is there now; one if none is, for one may come back."""
        return max(1, AHEAD_OF_WORKERS * len(self._client.nthreads()))

    def put(self, index: int, item: Any) -> None:
        """To whichever worker Dask chooses."""
        self._puts += 1
        future = self._client.submit(
            _do, self._function, pickle.dumps(item), key=f"{self._name}-{self._puts}", pure=False
        )
        self._under_way[future] = index

    def take(self, wait_s: float) -> list[Ended]:
        """Answers, and items that every worker died of."""
        try:
            with self._client.as_current():
                done, _ = self._dask.wait(list(self._under_way), timeout=wait_s, return_when="FIRST_COMPLETED")
        except TimeoutError:
            return []
        return [self._ended(future, self._under_way.pop(future)) for future in done]

    def absent(self) -> str | None:
        """Whether all workers have gone."""
        if self._client.nthreads():
            return None
        return f"--cluster {self._address} has had no worker left"

    def close(self) -> None:
        """Ask Dask to forget what is under way, and leave."""
        self._client.cancel(list(self._under_way))
        self._under_way.clear()
        self._client.close(timeout=CONNECT_S_MAX)

    def _ended(self, future: Any, index: int) -> Ended:
        if future.status in ("cancelled", "lost"):
            raise ShardError(
                f"--cluster {self._address} has forgotten item {index}: the scheduler was stopped or started anew, or"
                " somebody cancelled it. Run the command again"
            )
        error = future.exception()
        if error is None:
            reply: Reply = pickle.loads(future.result())
            return reply.ended(index, self._address)
        if isinstance(error, self._dask.KilledWorker):
            return Ended(index, lost=f"as Dask says: {error}")
        if isinstance(error, ModuleNotFoundError) or isinstance(error.__cause__, ModuleNotFoundError):
            raise ShardError(
                f"--cluster {self._address}: {error.__cause__ or error}. Scheduler and workers need the same moonkiln"
                " as this process: start them from its environment"
            ) from error
        raise ShardError(f"--cluster {self._address} could not do item {index}: {error}") from error


def _do(function: bytes, item: bytes) -> bytes:
    """One item on a worker; bytes both ways, so that Dask has nothing of ours to take apart."""
    with _ONE_AT_A_TIME:
        return pickle.dumps(answer(pickle.loads(function), pickle.loads(item)))
