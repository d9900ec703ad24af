"""A map of pure work over many processes, here or on a Dask cluster, whose results do not depend on where it ran.

    for row in run_items("hil_sim.harness.campaign:judge", seeds, jobs=4): ...
    for row in run_items(judge, seeds, cluster="tcp://10.0.0.1:8786"): ...

Results come in the order of the items. A worker that dies loses nothing: its item goes to another, a bounded number of
times. Ctrl-C ends the workers and says what was done. It stands in `control` because `moonkiln slice` uses it and
`control` never imports the simulator, whose campaigns use it too.
"""

from __future__ import annotations

import hashlib
import importlib
import pickle
import re
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from control.errors import MoonkilnError, UsageError

Item = TypeVar("Item")

PACKAGES = ("slicer", "firmware_bridge", "vision", "control", "hil_sim")
TRIES = 3
STALL_S_MAX = 3600.0
IDLE_SAID_S, IDLE_AGAIN_S, IDLE_S_MAX = 30.0, 60.0, 600.0
"""Without any worker: told after the first, again every second, given up after the third."""
LOOK_S = 10.0
"""How often it is looked whether workers are there."""
AHEAD = 4
"""Results that may wait in line for each worker while an earlier item is still under way: what bounds memory."""

_CLUSTER = re.compile(r"(?:tcp|tls)://(?:[^\s/:\[\]]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})/?")


class ShardError(MoonkilnError):
    """The workers cannot do the work; the message says which and why. `done`: as of `InterruptedShards`."""

    done: Sequence[tuple[int, Any]] = ()


class LostItemError(ShardError):
    """Every worker that took one item died."""


class InterruptedShards(KeyboardInterrupt):
    """Ctrl-C. `done`: (index, result) of items that had ended and waited for an earlier one to be handed out."""

    def __init__(self, done: list[tuple[int, Any]]) -> None:
        super().__init__()
        self.done = done


@dataclass(frozen=True)
class Ended:
    """How one item ended: with a value, an error that the work raised, or `lost`: how its worker died."""

    index: int
    value: Any = None
    error: Exception | None = None
    lost: str | None = None


class Crew(Protocol):
    """Workers, wherever they are. `tries`: how often they are to be given an item that was lost."""

    tries: int

    def width(self) -> int:
        """How many items may be under way at once."""

    def put(self, index: int, item: Any) -> None:
        """Give an item to a worker, at once or when one is free."""

    def take(self, wait_s: float) -> list[Ended]:
        """What has ended; waits for the first, and gives nothing after `wait_s` seconds without one."""

    def absent(self) -> str | None:
        """Where no worker is left that could do anything: a sentence that says so."""

    def close(self) -> None:
        """End what is under way."""


def run_items(
    work: str | Callable[[Item], Any],
    items: Iterable[Item],
    *,
    jobs: int = 1,
    cluster: str | None = None,
    tries: int = TRIES,
    on_lost: Callable[[Item, str], Any] | None = None,
    stall_s_max: float = STALL_S_MAX,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Any]:
    """`work(item)` for every item, in order.

    Args:
        work: "module:function", or a function that pickle knows by name (or a functools.partial of one). It must be
            pure: an item whose worker died is worked again.
        items: taken as workers become free; what pickle can carry.
        jobs: processes on this machine; with 1 it runs right here.
        cluster: a Dask scheduler, `tcp://HOST:PORT`; instead of processes here. Its own `allowed-failures` (3) says how
            often an item that was lost goes again.
        tries: workers that may die of one item.
        on_lost: gives the result of an item that all of them died of, from the item and a sentence.
        stall_s_max: real seconds without any item ending after which the work is given up.
        environment: variables that processes on this machine are started with; one job has a process of its own then.

    Raises:
        UsageError: `work` is no such function, or --cluster names none that can be reached.
        LostItemError: as `tries` says, without `on_lost`. It comes where the result would have come, as does:
        Exception: what `work` raised.
        ShardError: nothing ended for too long, a cluster was without workers for IDLE_S_MAX, or a worker runs other
            code than this process.
        InterruptedShards: Ctrl-C while it waited.
    """
    if jobs < 1 or tries < 1:
        raise UsageError(f"{jobs} jobs and {tries} tries: give at least one of each")
    function = resolve(work)
    if cluster is not None and environment is not None:
        raise UsageError(f"--cluster {cluster}: its workers have the environment that they were started with")
    if jobs == 1 and cluster is None and environment is None:
        return map(function, items)
    return _ordered(lambda: _crew(function, jobs, cluster, tries, environment or {}), items, on_lost, stall_s_max)


def resolve(work: str | Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The function that "module:function" names. Raises UsageError."""
    if not isinstance(work, str):
        return work
    module, colon, name = work.partition(":")
    try:
        function = getattr(importlib.import_module(module), name) if colon and name else None
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{work!r} cannot be called: {error}") from error
    if not callable(function):
        raise UsageError(f"{work!r} cannot be called: write it as package.module:function")
    return function


def check_cluster(address: str) -> None:
    """Raises UsageError for what can be no scheduler's address, so that nobody waits for one to answer there."""
    found = _CLUSTER.fullmatch(address)
    if found is None or not 0 < int(found[1]) <= 65535:
        raise UsageError(f"--cluster {address}: give the address of a Dask scheduler as tcp://HOST:PORT")


def reach_cluster(address: str) -> None:
    """Raises UsageError for a cluster that could do nothing now: before minutes are spent on what goes to it."""
    from control.shard_cluster import reached

    reached(address).close()


def _crew(
    function: Callable[[Any], Any], jobs: int, cluster: str | None, tries: int, environment: Mapping[str, str]
) -> Crew:
    if cluster is not None:
        from control.shard_cluster import ClusterCrew

        return ClusterCrew(function, cluster)
    from control.shard_processes import ProcessCrew

    return ProcessCrew(function, jobs, tries, environment)


def _ordered(
    make_crew: Callable[[], Crew], items: Iterable[Item], on_lost: Callable[[Item, str], Any] | None, stall_s_max: float
) -> Iterator[Any]:
    """The one loop behind every crew: hand out, take back, put in order."""
    crew = make_crew()
    rest = enumerate(items)
    under_way: dict[int, Item] = {}
    ended: dict[int, Ended] = {}
    losses: Counter[int] = Counter()
    turn, taken, is_more = 0, 0, True
    try:
        while is_more or under_way or ended:
            width = crew.width()
            while is_more and len(under_way) < width and taken - turn < AHEAD * width:
                index, item = next(rest, (-1, None))
                if index < 0:
                    is_more = False
                    break
                taken = index + 1
                under_way[index] = item  # type: ignore[assignment]
                crew.put(index, item)
            if not under_way:
                continue
            batch = _awaited(crew, under_way, stall_s_max)
            for one in batch:
                if one.lost is not None:
                    losses[one.index] += 1
                    if losses[one.index] < crew.tries:
                        crew.put(one.index, under_way[one.index])
                        continue
                    one = _given_up(one, under_way[one.index], max(losses[one.index], crew.tries), on_lost)
                del under_way[one.index]
                ended[one.index] = one
            while turn in ended:
                done = ended.pop(turn)
                turn += 1
                if done.error is not None:
                    raise done.error
                yield done.value
    except KeyboardInterrupt:
        raise InterruptedShards(_ahead(ended)) from None
    except ShardError as error:
        error.done = _ahead(ended)
        raise
    finally:
        crew.close()


def _awaited(crew: Crew, under_way: Iterable[int], stall_s_max: float) -> list[Ended]:
    """What ended next. Raises ShardError: nothing for too long, or no worker was there for too long."""
    waited_s = idle_s = 0.0
    say_at_s = IDLE_SAID_S
    while waited_s < stall_s_max:
        look_s = min(LOOK_S, stall_s_max - waited_s)
        if batch := crew.take(look_s):
            return batch
        waited_s += look_s
        if (sentence := crew.absent()) is None:
            idle_s, say_at_s = 0.0, IDLE_SAID_S
            continue
        idle_s += look_s
        if idle_s >= IDLE_S_MAX:
            raise ShardError(f"{sentence}, for {idle_s:g} s; under way are items {_some(under_way)}: start workers")
        if idle_s >= say_at_s:
            say_at_s += IDLE_AGAIN_S
            print(f"{sentence}, for {idle_s:g} s: it is given up after {IDLE_S_MAX:g} s", file=sys.stderr, flush=True)
    raise ShardError(
        f"no item ended for {stall_s_max:g} s; under way are items {_some(under_way)}: look whether the workers are"
        " alive and the items of a bounded size"
    )


def _ahead(ended: Mapping[int, Ended]) -> list[tuple[int, Any]]:
    """What has been done and not been handed out."""
    return [(index, one.value) for index, one in sorted(ended.items()) if one.error is None]


def _given_up(one: Ended, item: Any, times: int, on_lost: Callable[[Any, str], Any] | None) -> Ended:
    often = "its worker" if times == 1 else f"each of the {times} workers that took it"
    sentence = f"item {one.index} was not done: {often} died ({one.lost}). Is it out of memory?"
    if on_lost is not None:
        return Ended(one.index, on_lost(item, sentence))
    return Ended(one.index, error=LostItemError(sentence))


def _some(indices: Iterable[int]) -> str:
    first = sorted(indices)
    return ", ".join(map(str, first[:8])) + (f" and {len(first) - 8} more" if len(first) > 8 else "")


# ---- the worker's side


@dataclass(frozen=True)
class Reply:
    """What a worker sends back: the mark of its code, and a value or an error as pickle carries them."""

    mark: str
    value: Any = None
    error: bytes | None = None

    def ended(self, index: int, where: str) -> Ended:
        """The same for who waits for it. Raises ShardError: the worker runs other code."""
        if self.mark != code_mark():
            raise ShardError(
                f"a worker of {where} runs {self.mark} and this process {code_mark()}: results would depend on where an"
                " item ran. Install the same moonkiln, Python and numpy everywhere"
            )
        return Ended(index, self.value, None if self.error is None else pickle.loads(self.error))


def answer(function: Callable[[Any], Any], item: Any) -> Reply:
    """Do one item and put what came of it into a form that always travels."""
    try:
        return Reply(code_mark(), function(item))
    except Exception as error:
        error.add_note("".join(traceback.format_exception(error)))  # the worker's own lines would be lost
        return Reply(code_mark(), error=_carried(error))


def _carried(error: Exception) -> bytes:
    """An error as bytes that can be read back: as itself where pickle can, else as a sentence."""
    try:
        data = pickle.dumps(error)
        pickle.loads(data)
    except Exception:  # an error whose class takes other arguments than it keeps
        data = pickle.dumps(ShardError("".join(traceback.format_exception(error))))
    return data


@lru_cache(maxsize=1)
def code_mark() -> str:
    """What decides on results beside the item: moonkiln's own files, Python and numpy, in a few characters."""
    import numpy

    digest = hashlib.blake2b(digest_size=6)
    root = Path(__file__).resolve().parent.parent
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.suffix in (".py", ".toml"):
                digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return f"moonkiln {digest.hexdigest()} on Python {python}, numpy {numpy.__version__}"
