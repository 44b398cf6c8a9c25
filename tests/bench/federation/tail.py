"""Whether the tail of one set of windows is longer than that of another, with how sure that is.

Plain numbers in, a verdict out. A p99 needs samples: of 3,000 thirty lie above it, give or take eleven, and of the 9,600
of three windows ninety-six, give or take nineteen. So windows of the two states follow each other in turn, which takes out
whatever the machine drifts by, their samples are pooled, and the ratio is given with an interval. That comes from drawing
whole seconds, not statements: a slow moment meets several of them, and they are not independent.
"""

import math
import random
from bisect import bisect_right
from dataclasses import dataclass, field

# Samples that a window must have, or its p99 is one of a handful of statements.
LEAST = 3_000
# Resamplings, and the share of them that the interval holds.
DRAWS, SURE = 400, 0.95
P = 0.99


@dataclass
class Window:
    """One stretch of one state: when it began and ended, and milliseconds by the second they were due in."""

    began: float
    ended: float
    seconds: dict[int, list[float]] = field(default_factory=dict)

    def add(self, due: float, milliseconds: float) -> None:
        self.seconds.setdefault(int(due - self.began), []).append(milliseconds)

    def all(self) -> list[float]:
        return [one for second in self.seconds.values() for one in second]


@dataclass(frozen=True)
class Compared:
    """The pooled p99 of two states, their ratio, and between which two the ratio lies."""

    before: float
    meanwhile: float
    least: float
    greatest: float

    @property
    def ratio(self) -> float:
        return self.meanwhile / self.before

    def verdict(self, bound: float) -> str:
        """Kept or not only if all of the interval says so."""
        if self.greatest <= bound:
            return "yes"
        return "**no**" if self.least > bound else "not decided"


def percentile(taken: list[float], share: float) -> float:
    taken = sorted(taken)
    return taken[min(len(taken) - 1, math.ceil(share * len(taken)) - 1)]


def compare(before: list[Window], meanwhile: list[Window]) -> Compared:
    """Both with the same seed, so that the same samples give the same interval."""
    chance = random.Random(7)
    states = [[second for window in windows for second in window.seconds.values()] for windows in (before, meanwhile)]
    ratios = []
    for _ in range(DRAWS):
        first, second = (drawn(state, chance) for state in states)
        ratios.append(second / first)
    ratios.sort()
    pooled = [percentile([one for second in state for one in second], P) for state in states]
    aside = (1 - SURE) / 2
    return Compared(*pooled, percentile(ratios, aside), percentile(ratios, 1 - aside))


def drawn(seconds: list[list[float]], chance: random.Random) -> float:
    """The p99 of as many seconds, each drawn from all."""
    return percentile([one for second in chance.choices(seconds, k=len(seconds)) for one in second], P)


def within(windows: list[Window], due: float) -> Window | None:
    """The window that a moment lies in, of some that follow each other."""
    at = bisect_right([window.began for window in windows], due) - 1
    return windows[at] if at >= 0 and due < windows[at].ended else None
