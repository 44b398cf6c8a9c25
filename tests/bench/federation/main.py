"""TPC-H over PostgreSQL, MariaDB and Delta at once: every answer checked, every time beside what it could have been.

Run by `cargo x bench federation`. All 22 queries in three distributions of the tables; per query the gateway's median
time with its spread, the rows and bytes that left each source, and the ratio to the slower of two lower limits
measured in the same run. A wrong answer ends the run with an error: a fast wrong number is none.
"""

import argparse
import decimal
import statistics
import sys
import time
from pathlib import Path

import stores
from gateway import Gateway, Leaf
from limits import Compute, Duckdb, Wire
from placement import DISTRIBUTIONS, STORES

QUERIES = Path(__file__).with_name("queries")


def timed(run, times: int) -> tuple[float, float, float]:
    """Median, least and greatest of several runs, in milliseconds, after one that warms up."""
    run()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        taken.append((time.perf_counter() - start) * 1e3)
    return statistics.median(taken), min(taken), max(taken)


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
    rows = sum(leaf.rows for leaf in leaves if leaf.store == store)
    size = sum(leaf.bytes for leaf in leaves if leaf.store == store)
    return f"{rows:,} / {size / 1024:,.0f} kB" if any(leaf.store == store for leaf in leaves) else "-"


def attempt(run, expected: list[tuple], times: int) -> float | str:
    """A rival's median, or why it has none."""
    try:
        if not same(run(), expected):
            return "other rows"
        return timed(run, times)[0]
    except Exception as error:  # noqa: BLE001 - whatever a rival fails with is its result
        return type(error).__name__


def main() -> None:
    parser = argparse.ArgumentParser(prog="cargo x bench federation", description=__doc__.splitlines()[0])
    parser.add_argument("--gateway", type=Path, required=True, help="the release build of portolan")
    parser.add_argument("--folder", type=Path, required=True, help="where data is kept between runs")
    parser.add_argument("--scale", type=float, default=0.1, help="TPC-H scale factor")
    parser.add_argument("--times", type=int, default=3, help="timed runs of each query")
    parser.add_argument("--only", default="abc", help="distributions to run")
    parser.add_argument("--queries", default="1-22", help="first and last query")
    options = parser.parse_args()
    folder = options.folder / f"sf{options.scale}"
    stores.generate(folder, options.scale)
    stores.fill(folder, options.scale)
    compute, duckdb, wire = Compute(folder), Duckdb(folder), Wire()
    first, last = (int(part) for part in options.queries.split("-"))
    wrong = []
    print(f"TPC-H scale {options.scale}, median of {options.times} [least-greatest], milliseconds; ratio = gateway / "
          "greater of compute and wire\n")
    with Gateway(options.gateway, folder) as gateway:
        for distribution in options.only:
            gateway.place(distribution)
            duckdb.place(distribution)
            placed = DISTRIBUTIONS[distribution]
            print(f"## Distribution {distribution}: " + "; ".join(f"{s} {', '.join(placed[s])}" for s in STORES) + "\n")
            print("| query | gateway | compute | wire | ratio | DuckDB | "
                  + " | ".join(f"{store} rows / size" for store in STORES) + " |")
            print("|---|---|---|---|---|---|---|---|---|")
            for number in range(first, last + 1):
                sql = (QUERIES / f"q{number:02}.sql").read_text().replace("{scale}", str(options.scale))
                try:
                    ours = gateway.rows(sql)
                except Exception as error:  # noqa: BLE001 - a refusal is a result, and fails the run
                    wrong.append(f"{distribution}{number}: {error}")
                    print(f"| q{number:02} | {str(error).splitlines()[0]} |")
                    continue
                expected = compute.rows(sql)
                if not same(ours, expected):
                    wrong.append(f"{distribution}{number}: other rows than DataFusion over Parquet")
                leaves = gateway.leaves(sql)
                gateway_time, least, greatest = timed(lambda: gateway.rows(sql), options.times)
                compute_time = timed(lambda: compute.rows(sql), options.times)[0]
                wire_time = timed(lambda: wire.drain(leaves), options.times)[0]
                rival = attempt(lambda: duckdb.rows(sql), expected, options.times)
                ratio = gateway_time / max(compute_time, wire_time)
                shown = f"{rival:.0f}" if isinstance(rival, float) else rival
                print(f"| q{number:02} | {gateway_time:.0f} [{least:.0f}-{greatest:.0f}] | {compute_time:.0f} | "
                      f"{wire_time:.0f} | {ratio:.2f} | {shown} | "
                      + " | ".join(cell(leaves, store) for store in STORES) + " |", flush=True)
            print()
    if wrong:
        sys.exit("wrong:\n" + "\n".join(wrong))


if __name__ == "__main__":
    main()
