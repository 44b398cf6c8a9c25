"""Ratios of an earlier run, and what has become worse since.

Only ratios are kept: milliseconds of another day or another machine say nothing about a change. A query has become worse
if its best run is: the median of few runs on a shared machine moves by more than the tenth that is allowed.
"""

import json
from pathlib import Path

WORSE = 1.10


class Baseline:
    """What a run measured, by distribution and query."""

    def __init__(self) -> None:
        self.ratios: dict[str, float] = {}

    def note(self, distribution: str, query: str, ratio: float) -> None:
        self.ratios[f"{distribution} {query}"] = round(ratio, 3)

    def save(self, file: Path) -> None:
        file.write_text(json.dumps(self.ratios, indent=1, sort_keys=True) + "\n")

    def worse_than(self, file: Path) -> list[str]:
        """One line for each query that is more than a tenth worse than in the file."""
        before = json.loads(file.read_text())
        return [f"{name}: {before[name]:.2f} -> {ratio:.2f}" for name, ratio in self.ratios.items()
                if name in before and ratio > WORSE * before[name]]
