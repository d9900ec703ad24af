"""What `[random]` of a scenario leaves of all that a campaign could draw: of the generator's kinds, the world's points.

The weights stay those of the generator's file: what is left is drawn as often, beside each other, as ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase

import msgspec

from hil_sim.harness.expression_check import hint
from hil_sim.harness.generator import Generator, GeneratorError, Ground
from hil_sim.harness.scenario import RandomFaults


def narrowed_generator(generator: Generator, wanted: RandomFaults) -> Generator:
    """The generator with the kinds that are wanted alone, and as many faults in a schedule, each number as likely.

    Raises:
        GeneratorError: a pattern fits no kind that is drawn, or there are fewer than `count` of those that do.
    """
    for pattern in wanted.kinds:
        if not _fit(generator.kinds, [pattern]):
            left_out = generator.left_out.get(pattern)
            why = f" ({left_out})" if left_out else hint(pattern, sorted(generator.kinds))
            raise GeneratorError(f"random.kinds: {pattern!r} fits no kind that the generator draws{why}")
    kept = set(_fit(generator.kinds, wanted.kinds))
    least, most = wanted.count
    allowed = [generator.kinds[name].most for name in kept]
    if None not in allowed and (at_most := sum(filter(None, allowed))) < least:
        raise GeneratorError(
            f"random.count asks for {least} faults; the generator draws {at_most} of {', '.join(sorted(kept))} at most"
        )
    return msgspec.structs.replace(
        generator,
        draw=msgspec.structs.replace(generator.draw, faults=list(range(least, most + 1))),
        kinds={name: row for name, row in generator.kinds.items() if name in kept},
    )


def narrowed_ground(ground: Ground, wanted: RandomFaults) -> Ground:
    """The ground with the points and the time that are wanted alone.

    Raises:
        GeneratorError: a pattern fits no point, or the job ends before that time.
    """
    for pattern in wanted.points:
        if not _fit(ground.points, [pattern]):
            raise GeneratorError(
                f"random.points: {pattern!r} fits no point of this world{hint(pattern, sorted(ground.points))}"
            )
    if wanted.from_s >= ground.end_s:
        raise GeneratorError(
            f"random.from_s is {wanted.from_s:g}, and the job ends at {ground.end_s:g} s: nothing could strike there"
        )
    end_s = ground.end_s if wanted.to_s is None else min(wanted.to_s, ground.end_s)
    return replace(ground, points=tuple(_fit(ground.points, wanted.points)), from_s=wanted.from_s, end_s=end_s)


def _fit(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
