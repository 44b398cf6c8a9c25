"""TPC-H over PostgreSQL, MariaDB and Delta at once: every answer checked, every time beside what it could have been.

Run by `cargo x bench federation`. All 22 queries in three distributions of the tables, then the named cases of
`cases.py`, then the loss of a source under load (`outage.py`). Per query: the gateway's median with its spread, the ratio to the greatest lower limit measured in the same
run, the rows and bytes that left each source, and how those compare with the least that any engine must fetch. A wrong
answer ends the run with an error: a fast wrong number is none.
"""

import argparse
import decimal
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import stores
from baseline import Baseline
from cases import run_cases
from gateway import Gateway, Leaf
from limits import Compute, Duckdb, Native
from minimal import BOUND, Held, Minimal, held, transfer
from outage import run_outage
from placement import DISTRIBUTIONS, STORES
from report import Report, Spread, figure, middle
from wire import Drains

# At scale 1, a read with fewer rows in excess counts as a miss but is not listed.
WORTH = 10_000

# Rivals are a scale beside the gateway, not what is measured: some are ten times as slow as it.
RIVAL_TIMES = 3

QUERIES = Path(__file__).with_name("queries")


def timed(run, times: int) -> Spread:
    """Several runs, after one that warms up."""
    run()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        taken.append((time.perf_counter() - start) * 1e3)
    return Spread.of(taken)


def same(ours: list[tuple], theirs: list[tuple]) -> bool:
    """Equal rows in equal order. Quotients may differ in their last digits: engines choose other scales for them."""
    if len(ours) != len(theirs):
        return False
    return all(
        len(a) == len(b) and all(alike(x, y) for x, y in zip(a, b)) for a, b in zip(ours, theirs)
    )


def alike(a, b) -> bool:
    if a == b:
        return True
    numbers = (int, float, decimal.Decimal)
    if not (isinstance(a, numbers) and isinstance(b, numbers)):
        return False
    return abs(float(a) - float(b)) <= 5e-5 * max(1.0, abs(float(b)))


def cell(leaves: list[Leaf], store: str) -> str:
    found = [leaf for leaf in leaves if leaf.store == store]
    return f"{sum(leaf.rows for leaf in found):,} / {sum(leaf.bytes for leaf in found) / 1024:,.0f}" if found else "-"


def attempt(run, expected: list[tuple], times: int) -> float | str:
    """A rival's median, or why it has none."""
    try:
        if not same(run(), expected):
            return "other rows"
        return timed(run, min(times, RIVAL_TIMES)).median
    except Exception as error:  # noqa: BLE001 - whatever a rival fails with is its result
        return type(error).__name__


@dataclass
class Bench:
    """Everything that one run is made of."""

    gateway: Gateway
    tapped: Gateway
    compute: Compute
    native: Native
    duckdb: Duckdb | None
    drains: Drains
    minimal: Minimal
    report: Report
    baseline: Baseline
    scale: float
    times: int

    def distribution(self, distribution: str, queries: list[int]) -> list[str]:
        """One table of figures; returns what was wrong."""
        for one in filter(None, (self.gateway, self.tapped, self.duckdb)):
            one.place(distribution)
        placed = DISTRIBUTIONS[distribution]
        say = self.report
        say.say(f"## Distribution {distribution}: " + "; ".join(f"{s} {', '.join(placed[s])}" for s in STORES))
        say.say()
        say.head("query", "gateway ms", "ratio", "compute", "wire", "wire kB", "native", "DuckDB",
                 *(f"{store} rows / kB" for store in STORES), "fetched/minimal", "E_transfer", "floor rows")
        wrong, ratios, missed, everything = [], [], [], []
        for number in queries:
            name = f"q{number:02}"
            sql = (QUERIES / f"{name}.sql").read_text().replace("{scale}", str(self.scale))
            expected = self.compute.rows(sql)
            try:
                for one in (self.gateway, self.tapped):
                    if not same(one.rows(sql), expected):
                        raise ValueError("other rows than DataFusion over Parquet")
                leaves, sent = self.tapped.sent(sql)
                received = self.tapped.received()
                taken = timed(lambda: self.gateway.rows(sql), self.times)
            except Exception as error:  # noqa: BLE001 - a refusal is a result, and fails the run
                wrong.append(f"{distribution} {name}: {error}")
                say.row(name, f"FAILED: {str(error).splitlines()[0]}", *[""] * (9 + len(STORES)))
                continue
            compute = timed(lambda: self.compute.rows(sql), self.times).median
            self.drains.milliseconds(sent, leaves)
            wire = Spread.of([self.drains.milliseconds(sent, leaves) for _ in range(self.times)]).median
            store = self.native.store(sql, distribution)
            native = store and attempt(lambda: self.native.rows(sql, store, distribution), expected, self.times)
            rival = self.duckdb and attempt(lambda: self.duckdb.rows(sql), expected, self.times)
            limit = max(compute, wire, native if isinstance(native, float) else 0.0)
            ratio = taken.median / limit
            self.baseline.note(distribution, name, taken.least / limit)
            ratios.append(ratio)
            least = self.minimal.reads(name)
            compared = held(leaves, least)
            everything += compared
            missed += [(name, one) for one in compared if one.missed]
            fetched, needed = sum(one.leaf.rows for one in compared), sum(one.minimal or 0 for one in compared)
            mark = " **miss**" if any(one.missed for one in compared) else ""
            say.row(name, str(taken), f"{ratio:.2f}", figure(compute), figure(wire), f"{received / 1024:,.0f}",
                    shown(native), shown(rival),
                    *(cell(leaves, store) for store in STORES), f"{fetched / max(needed, 1):.2f}{mark}",
                    f"{transfer(compared):.2f}", f"{sum(one.floor for one in least):,}")
        say.say()
        total, bound = sum(one.leaf.rows for one in everything), sum(one.minimal or 0 for one in everything)
        say.say(f"Rows fetched in all: {total:,}, {total / max(bound, 1):.2f} x the minimum.")
        say.say(f"Ratio, geometric mean: {middle(ratios)}.")
        say.say(f"Reads over {BOUND} x their minimum: {len(missed)} of {len(everything)}.")
        say.say()
        self.misses(missed)
        return wrong

    def misses(self, missed: list[tuple[str, Held]]) -> None:
        worth = WORTH * self.scale
        missed = sorted((one for one in missed if one[1].excess >= worth), key=lambda one: -one[1].excess)
        if not missed:
            return
        self.report.say(f"Those that fetched {worth:,.0f} rows too many, or more:")
        self.report.say()
        self.report.head("query", "source", "tables", "fetched", "minimal", "times", "sent")
        for name, one in missed:
            leaf, minimal = one.leaf, one.minimal or 0
            sent = leaf.sent if len(leaf.sent) <= 160 else leaf.sent[:159] + "…"
            self.report.row(name, leaf.source, ", ".join(leaf.tables), f"{leaf.rows:,}", f"{minimal:,}",
                            f"{leaf.rows / max(minimal, 1):.1f}", f"`{sent.replace('`', '')}`")
        self.report.say()


def shown(value: float | str | None) -> str:
    return value if isinstance(value, str) else figure(value)


def numbers(text: str) -> list[int]:
    """`1-6,9` as numbers."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def letters(text: str) -> str:
    """The letters of distributions."""
    if unknown := set(text) - set(DISTRIBUTIONS):
        known = ", ".join(DISTRIBUTIONS)
        raise argparse.ArgumentTypeError(f"no distribution {', '.join(sorted(unknown))}; there are {known}")
    return text


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="cargo x bench federation", description=__doc__.splitlines()[0])
    parser.add_argument("--gateway", type=Path, required=True, help="the release build of portolan")
    parser.add_argument("--folder", type=Path, required=True, help="where data is kept between runs")
    parser.add_argument("--scale", type=float, default=0.1, help="TPC-H scale factor")
    parser.add_argument("--times", type=int, default=3, help="timed runs of each query")
    parser.add_argument("--only", type=letters, default="abc", help="distributions to run; with none the cases alone")
    parser.add_argument("--queries", type=numbers, default="1-22", help="such as 1-6,9")
    parser.add_argument("--cases", action=argparse.BooleanOptionalAction, default=True, help="the named cases too")
    parser.add_argument("--outage", action=argparse.BooleanOptionalAction, default=True,
                        help="stop one of three sources under load too; takes a quarter of an hour")
    parser.add_argument("--duckdb", action=argparse.BooleanOptionalAction, default=True, help="the rival too")
    parser.add_argument("--markdown", type=Path, help="write what is printed to this file as well")
    parser.add_argument("--save", type=Path, help="keep the ratios in this file")
    parser.add_argument("--baseline", type=Path, help="fail if a ratio is a tenth worse than in this file")
    return parser.parse_args()


def measured(chosen: argparse.Namespace, folder: Path, report: Report, baseline: Baseline) -> list[str]:
    """The queries and the named cases; returns what was wrong."""
    # The cases plan a query over the three stores of a distribution.
    loaded = stores.fill(folder, chosen.scale, chosen.only or "a")
    wrong = []
    with (
        Gateway(chosen.gateway, folder, loaded) as gateway,
        Gateway(chosen.gateway, folder, loaded, tapped=True) as tapped,
    ):
        if chosen.only:
            rival = Duckdb(folder, loaded) if chosen.duckdb else None
            bench = Bench(gateway, tapped, Compute(folder), Native(), rival, Drains(folder), Minimal(folder), report,
                          baseline, chosen.scale, chosen.times)
            report.say(f"TPC-H scale {chosen.scale:g}, milliseconds, median of {chosen.times} [least-greatest];"
                       " ratio = gateway / greatest of compute, wire and native")
            report.say()
            for distribution in chosen.only:
                wrong += bench.distribution(distribution, chosen.queries)
        if chosen.cases:
            wrong += run_cases(gateway, tapped, loaded[0], report, max(chosen.times, 5))
    return wrong


def main() -> None:
    # A run that is ended still ends its gateways.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    chosen = options()
    folder = chosen.folder / f"sf{chosen.scale:g}"
    folder.mkdir(parents=True, exist_ok=True)
    report, baseline = Report(chosen.markdown), Baseline()
    wrong = measured(chosen, folder, report, baseline) if chosen.only or chosen.cases else []
    if chosen.outage:
        # After the others: nothing else runs beside it.
        wrong += run_outage(chosen.gateway, folder, report)
    if chosen.baseline:
        wrong += [f"worse than the baseline: {line}" for line in baseline.worse_than(chosen.baseline)]
    if chosen.save:
        baseline.save(chosen.save)
    if wrong:
        sys.exit("wrong:\n" + "\n".join(wrong))


if __name__ == "__main__":
    main()
