"""Time several ways to compute the same thing, round by round in one process, and compare them.

A machine's speed drifts by more than the differences of interest: clock, neighbours, temperature. So every
round times every contestant once, in shuffled order, and speeds are compared within rounds.
"""

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Stopwatch = Callable[[Callable[[], object], int], float]  # seconds a call takes, called so many times

_SLOT = 2e-3  # seconds for which a contestant runs in one round: far above a clock's steps and a cold cache
_WARM_UP_CALLS = 1
_CALIBRATION_CALLS = 2


@dataclass(frozen=True)
class Timing:
    """Seconds per call of one contestant, one entry a round, each the mean over ``iterations`` calls."""

    seconds: tuple[float, ...]
    iterations: int


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of a sample, and its smallest value."""

    median: float
    q1: float
    q3: float
    least: float


def race(
    contestants: Mapping[str, Callable[[], object]],
    *,
    seconds: float,
    min_rounds: int,
    stopwatch: Stopwatch,
) -> dict[str, Timing]:
    """Time all contestants alternately.

    Args:
        contestants: name -> call without arguments.
        seconds: how long to go on, for each contestant; the last round is always completed.
        min_rounds: least number of rounds, whatever they take.
        stopwatch: `by_clock`, or what times a device.

    Returns:
        Name -> timing; entry i of all timings comes from the same round.
    """
    for call in contestants.values():
        for _ in range(_WARM_UP_CALLS):
            call()
    iterations = {name: _iterations(call, stopwatch) for name, call in contestants.items()}
    rounds: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    shuffle = random.Random(0).shuffle
    gc.collect()
    gc.disable()
    try:
        end = time.perf_counter() + seconds * len(contestants)
        count = 0
        while count < min_rounds or time.perf_counter() < end:
            shuffle(order)
            for name in order:
                rounds[name].append(stopwatch(contestants[name], iterations[name]))
            count += 1
    finally:
        gc.enable()
    return {name: Timing(tuple(rounds[name]), iterations[name]) for name in contestants}


def by_clock(clock: Callable[[], float]) -> Stopwatch:
    """``time.perf_counter``, or ``time.process_time`` on a machine shared with others."""

    def measure(call: Callable[[], object], iterations: int) -> float:
        start = clock()
        for _ in range(iterations):
            call()
        return (clock() - start) / iterations

    return measure


def _iterations(call: Callable[[], object], stopwatch: Stopwatch) -> int:
    single = min(stopwatch(call, 1) for _ in range(_CALIBRATION_CALLS))
    return max(1, math.ceil(_SLOT / max(single, 1e-9)))


def spread(sample: Sequence[float]) -> Spread:
    """Median, quartiles and minimum of a sample of at least one value.

    Example:
        >>> spread([4.0, 1.0, 2.0, 3.0, 5.0])
        Spread(median=3.0, q1=2.0, q3=4.0, least=1.0)
    """
    if len(sample) == 1:
        return Spread(sample[0], sample[0], sample[0], sample[0])
    q1, median, q3 = statistics.quantiles(sample, n=4, method="inclusive")
    return Spread(median, q1, q3, min(sample))


@dataclass(frozen=True)
class Ratio:
    """How many times as fast as a baseline: above 1 is faster.

    Attributes:
        medians: median time of the baseline over median time of the contestant.
        q1, q3: quartiles of the ratios taken round by round.
        minima: the same of the shortest times, least disturbed by other work on the machine.
    """

    medians: float
    q1: float
    q3: float
    minima: float

    @property
    def loses(self) -> bool:
        """Slower than the baseline in at least three rounds of four."""
        return self.q3 < 1


def speed_up(contestant: Timing, baseline: Timing) -> Ratio:
    """Compare two timings of the same race.

    Example:
        >>> speed_up(Timing((1.0, 2.0, 1.0), 1), Timing((2.0, 4.0, 3.0), 1))
        Ratio(medians=3.0, q1=2.0, q3=2.5, minima=2.0)
    """
    by_round = [b / c for c, b in zip(contestant.seconds, baseline.seconds, strict=True)]
    each, other, ratios = spread(contestant.seconds), spread(baseline.seconds), spread(by_round)
    return Ratio(other.median / each.median, ratios.q1, ratios.q3, other.least / each.least)
