"""The least that every read of a query must bring, computed over the Parquet files by another engine.

A read's minimum is its rows after the query's own conditions and after the joins that thin it, smallest table first,
each table thinned by those already thinned: what an engine reaches that reads nothing twice. Thinning on until nothing
changes gives the floor: what nobody could go under, and nobody reaches who must read a first table before it knows the
last. `queries/minimal.toml` says conditions and joins; nothing here looks at the gateway's plan.
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import duckdb

from gateway import Leaf
from placement import TABLES

# Fetched rows may be this many times the minimum.
BOUND = 1.25

JOIN = re.compile(r"(\w+)\(([^)]*)\) (=|->) (\w+)\(([^)]*)\)")


@dataclass(frozen=True)
class Read:
    """One table read by a query: how many rows it needs, and how many in the end met."""

    table: str
    minimal: int
    floor: int


@dataclass(frozen=True)
class Held:
    """A leaf beside its minimum; `minimal` is None where the query has no such read."""

    leaf: Leaf
    minimal: int | None

    @property
    def excess(self) -> int:
        return self.leaf.rows - (self.minimal or 0)

    @property
    def missed(self) -> bool:
        return self.minimal is not None and self.leaf.rows > BOUND * max(self.minimal, 1)


def transfer(compared: list[Held]) -> float:
    """Needed bytes through fetched bytes, 1 at best: every row of a leaf weighs what its rows weigh on average."""
    fetched = sum(one.leaf.bytes for one in compared)
    needed = sum(one.leaf.bytes * min(1.0, (one.minimal or 0) / max(one.leaf.rows, 1)) for one in compared)
    return needed / fetched if fetched else 1.0


class Minimal:
    """The minimum of every read, computed once per query."""

    def __init__(self, folder: Path) -> None:
        self.queries = tomllib.loads(Path(__file__).with_name("queries").joinpath("minimal.toml").read_text())
        self.known: dict[str, list[Read]] = {}
        self.engine = duckdb.connect()
        for table in TABLES:
            self.engine.execute(f"CREATE VIEW {table} AS SELECT * FROM '{folder}/parquet/{table}.parquet'")

    def reads(self, query: str) -> list[Read]:
        if query not in self.known:
            self.known[query] = self.compute(**self.queries[query])
        return self.known[query]

    def compute(self, tables: dict[str, str], joins: list[str]) -> list[Read]:
        edges = [edge for join in joins for edge in both_ways(join)]
        for name, source in tables.items():
            columns = {column for edge in edges for side, on in ((edge[0], edge[1]), (edge[2], edge[3])) if side == name
                       for column in on.split(", ")}
            self.keep(name, f"SELECT {', '.join(columns) or '1'} FROM {source}")
        order = []
        while left := [name for name in tables if name not in order]:
            order.append(min(left, key=self.size))
            self.thin(edges, order[-1], [name for name in left if name != order[-1]])
        minimal = {name: self.size(name) for name in tables}
        before = None
        while before != (before := {name: self.size(name) for name in order}):
            for name in reversed(order):
                self.thin(edges, name, order)
        return [Read(source.split()[0], minimal[name], self.size(name)) for name, source in tables.items()
                if not source.startswith("(")]

    def keep(self, name: str, rows: str) -> None:
        self.engine.execute(f"CREATE OR REPLACE TEMP TABLE _{name} AS {rows}")

    def size(self, name: str) -> int:
        return self.engine.execute(f"SELECT count(*) FROM _{name}").fetchone()[0]

    def thin(self, edges: list[tuple[str, str, str, str]], by: str, others: list[str]) -> None:
        for left, left_on, right, right_on in edges:
            if left == by and right in others:
                met = " AND ".join(f"a.{x} = b.{y}" for x, y in zip(left_on.split(", "), right_on.split(", ")))
                self.keep(right, f"SELECT b.* FROM _{right} b SEMI JOIN _{left} a ON {met}")


def both_ways(join: str) -> list[tuple[str, str, str, str]]:
    left, left_on, sign, right, right_on = JOIN.fullmatch(join).groups()
    forth = (left, left_on, right, right_on)
    return [forth, (right, right_on, left, left_on)] if sign == "=" else [forth]


def held(leaves: list[Leaf], reads: list[Read]) -> list[Held]:
    """Lays leaves beside reads of the same table, the largest beside the largest.

    A leaf that joins inside its source is as large as the largest of its reads; one that groups there has read more
    than it brought, and chooses first.
    """
    left = {table: sorted((read.minimal for read in reads if read.table == table), reverse=True) for table in TABLES}
    found = []
    for leaf in sorted(leaves, key=lambda leaf: (" GROUP BY " not in leaf.sent, -leaf.rows)):
        # The last one stays: a table that is read more often than the query says may still be no larger.
        least = [left[table].pop(0) if len(left[table]) > 1 else left[table][0] for table in leaf.tables if left[table]]
        found.append(Held(leaf, max(least) if least else None))
    return found
