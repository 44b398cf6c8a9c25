"""What a run prints, and the same as a Markdown file: cells in, lines out, nothing measured here."""

import math
import statistics
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Spread:
    """Milliseconds of several runs."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, taken: list[float]) -> "Spread":
        return cls(statistics.median(taken), min(taken), max(taken))

    def __str__(self) -> str:
        return f"{figure(self.median)} [{figure(self.least)}-{figure(self.greatest)}]"


def figure(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "-"
    return f"{milliseconds:.{0 if milliseconds >= 10 else 1 if milliseconds >= 1 else 2}f}"


def middle(ratios: list[float]) -> str:
    """The geometric mean, and how many are at most 1."""
    if not ratios:
        return "-"
    mean = math.exp(sum(math.log(ratio) for ratio in ratios) / len(ratios))
    return f"{mean:.2f} ({sum(ratio <= 1 for ratio in ratios)} of {len(ratios)} at most 1)"


class Report:
    """Prints every line as it is known, and keeps it for the file."""

    def __init__(self, file: Path | None) -> None:
        self.file, self.lines = file, []

    def say(self, line: str = "") -> None:
        print(line, flush=True)
        self.lines.append(line)
        if self.file:
            self.file.write_text("\n".join(self.lines) + "\n")

    def head(self, *cells: str) -> None:
        self.row(*cells)
        self.say("|" + "---|" * len(cells))

    def row(self, *cells: str) -> None:
        self.say("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
