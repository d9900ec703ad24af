"""Workers of `control.shards` on a Dask cluster (the extra `moonkiln[cluster]`).

Dask gives an item whose worker died to another, as often as its scheduler's `allowed-failures` says. A worker does one
item at a time, whatever number of threads it was started with: a simulated run owns its process.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import Any

from control.errors import UsageError
from control.shards import Ended, Reply, ShardError, answer, check_cluster

CONNECT_S_MAX = 10.0
AHEAD_OF_WORKERS = 2
"""Items on their way to each worker: it need not wait for the next one."""

_ONE_AT_A_TIME = threading.Lock()


def reached(address: str) -> Any:
    """A client of the scheduler there, which has workers. Raises UsageError: no Dask here, nobody there, no workers."""
    check_cluster(address)
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--cluster {address} needs Dask, and {error.name} is not installed: pip install 'moonkiln[cluster]'"
        ) from error
    # What its client logs, with tracebacks, we say as sentences.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    try:
        client = distributed.Client(address, timeout=CONNECT_S_MAX, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # distributed raises TypeError for a strange scheme
        raise UsageError(
            f"--cluster {address}: no Dask scheduler answers there ({error}). Start one with `dask scheduler`, and"
            " give its address as tcp://HOST:PORT"
        ) from error
    if not client.nthreads():
        client.close()
        raise UsageError(f"--cluster {address} has no workers: start some with `dask worker {address}`")
    return client


class ClusterCrew:
    """The workers that a Dask scheduler has at the moment."""

    tries = 1  # Dask has tried already

    def __init__(self, function: Callable[[Any], Any], address: str) -> None:
        self._client = reached(address)
        import distributed

        self._dask = distributed
        self._address = address
        self._function = pickle.dumps(function)
        self._under_way: dict[Any, int] = {}
        self._puts = 0
        self._name = f"moonkiln-{self._client.id}"

    def width(self) -> int:
        """Two for each worker that is there now; one if none is, for one may come back."""
        return max(1, AHEAD_OF_WORKERS * self._workers())

    def put(self, index: int, item: Any) -> None:
        """To whichever worker Dask chooses."""
        self._puts += 1
        future = self._client.submit(
            _do, self._function, pickle.dumps(item), key=f"{self._name}-{self._puts}", pure=False
        )
        self._under_way[future] = index

    def take(self, wait_s: float) -> list[Ended]:
        """Answers, and items that every worker died of."""
        with self._in_touch():
            try:
                with self._client.as_current():
                    done, _ = self._dask.wait(list(self._under_way), timeout=wait_s, return_when="FIRST_COMPLETED")
            except TimeoutError:
                return []
        return [self._ended(future, self._under_way.pop(future)) for future in done]

    def absent(self) -> str | None:
        """Whether all workers have gone."""
        return None if self._workers() else f"--cluster {self._address} has had no worker left"

    def close(self) -> None:
        """Ask Dask to forget what is under way, and leave."""
        with contextlib.suppress(ShardError), self._in_touch():  # a scheduler that is gone forgets by itself
            self._client.cancel(list(self._under_way))
        self._under_way.clear()
        self._client.close(timeout=CONNECT_S_MAX)

    def _workers(self) -> int:
        """How many there are now."""
        with self._in_touch():
            return len(self._client.nthreads())

    @contextlib.contextmanager
    def _in_touch(self) -> Iterator[None]:
        """Whoever asks the scheduler may lose it meanwhile, and with it all that is under way: ShardError."""
        try:
            yield
        except (OSError, CancelledError) as error:  # a lost connection is an OSError of Dask's
            raise ShardError(self._forgotten()) from error

    def _forgotten(self) -> str:
        return (
            f"--cluster {self._address} has forgotten what it was given: the scheduler was stopped or started anew, or"
            " somebody cancelled it. Run the command again"
        )

    def _ended(self, future: Any, index: int) -> Ended:
        if future.status in ("cancelled", "lost"):
            raise ShardError(self._forgotten())
        with self._in_touch():
            error = future.exception()
            result = future.result() if error is None else b""
        if error is None:
            reply: Reply = pickle.loads(result)
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
