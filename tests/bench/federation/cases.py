"""The named cases of speed: one statement each, beside what it is held against, with the bound it must keep.

A case says what it measured and whether the bound held; a bound that did not hold is a result, a wrong answer an error.
"""

import os
import time

import psycopg
import pyarrow.flight as flight

from gateway import Gateway
from report import Report, Spread, figure
from stores import DATABASE, postgres
from wire import PostgresDrain, reads

MILLION = "postgres_big.million"
TOTAL = f"SELECT kind, count(*), sum(weight), min(seen), max(seen) FROM {MILLION} GROUP BY kind ORDER BY kind"
SCAN = "SELECT id, kind, weight, amount, seen, name FROM postgres_big.million"
# The joined key in words that no source is sent: the same join, without a runtime filter that crosses.
JOIN = "SELECT count(*), sum(m.weight) FROM {small} AS p JOIN {big} AS m ON m.id = p.id WHERE p.flag = 1"
HIDDEN = "SELECT count(*), sum(m.weight) FROM {small} AS p JOIN {big} AS m ON m.id * 1 + 0 = p.id WHERE p.flag = 1"
EMPTY = "SELECT count(*), sum(m.weight) FROM {small} AS p JOIN {big} AS m ON m.id = p.id WHERE p.flag = 2"
THREE = (
    "SELECT n.n_name, count(*) FROM orders o JOIN customer c ON c.c_custkey = o.o_custkey JOIN nation n ON"
    " n.n_nationkey = c.c_nationkey JOIN lineitem l ON l.l_orderkey = o.o_orderkey JOIN supplier s ON"
    " s.s_suppkey = l.l_suppkey WHERE o.o_orderdate < date '1992-02-01' AND s.s_name <> 'x' GROUP BY n.n_name"
)


class Cases:
    """Two gateways, a server asked directly, and the lines said."""

    def __init__(self, gateway: Gateway, tapped: Gateway, report: Report, times: int) -> None:
        self.gateway, self.tapped, self.report, self.times = gateway, tapped, report, times
        self.postgres, self.wrong = postgres(DATABASE), []
        self.drain = PostgresDrain()

    def clock(self, run, times: int = 0) -> Spread:
        run()
        taken = []
        for _ in range(times or self.times):
            start = time.perf_counter()
            run()
            taken.append((time.perf_counter() - start) * 1e3)
        return Spread.of(taken)

    def check(self, case: str, sql: str, expected: list[tuple]) -> None:
        if (found := self.gateway.rows(sql)) != expected:
            self.wrong.append(f"{case}: {found[:3]} instead of {expected[:3]}")

    def say(self, case: str, measured: str, beside: str, result: str, bound: str, kept: bool) -> None:
        self.report.row(case, measured, beside, result, bound, "yes" if kept else "**no**")

    def pushed(self) -> None:
        self.check("fully pushed", TOTAL, self.postgres.execute(TOTAL).fetchall())
        ours = self.clock(lambda: self.gateway.rows(TOTAL))
        native = self.clock(lambda: self.postgres.execute(TOTAL).fetchall())
        allowed = 1.10 * native.median + 2
        ratio = ours.median / native.median
        self.say("fully pushed aggregate of 1 M rows", str(ours), f"native {native}", f"{ratio:.2f} x",
                 f"1.10 x + 2 ms = {figure(allowed)}", ours.median <= allowed)
        point = f"SELECT name FROM {MILLION} WHERE id = 777777"
        self.check("point", point, [("vessel 777777",)])
        ours = self.clock(lambda: self.gateway.rows(point), 50)
        native = self.clock(lambda: self.postgres.execute(point).fetchall(), 50)
        allowed = 1.10 * native.median + 2
        self.say("fully pushed point read", str(ours), f"native {native}", f"+{ours.median - native.median:.1f} ms",
                 f"1.10 x + 2 ms = {figure(allowed)}", ours.median <= allowed)

    def kept(self) -> None:
        pushed = self.clock(lambda: self.gateway.rows(TOTAL))
        self.gateway.set("portolan.pushdown", "off")
        try:
            self.check("aggregate kept", TOTAL, self.postgres.execute(TOTAL).fetchall())
            kept = self.clock(lambda: self.gateway.rows(TOTAL))
        finally:
            self.gateway.set("portolan.pushdown", "on")
        gain = kept.median / pushed.median
        self.say("aggregate 1 M -> 10 rows, pushed", str(pushed), f"kept {kept}", f"{gain:.1f} x faster", "5 x", gain >= 5)

    def scan(self) -> None:
        door = Flight(self.gateway.flight)
        if (rows := door.drain(SCAN)[0]) != 1_000_000:
            self.wrong.append(f"scan: {rows} rows instead of a million")
        ours = self.clock(lambda: door.drain(SCAN))
        _, sent = self.tapped.sent(SCAN)
        copies = [one.text for one in reads(sent["postgres"])]
        wire = self.clock(lambda: [self.drain.drain(text) for text in copies])
        ratio = ours.median / wire.median
        self.say(f"scan of 1 M rows to Arrow (Flight), {len(copies)} COPY", str(ours), f"COPY binary {wire}",
                 f"{ratio:.2f} x", "1.3 x", ratio <= 1.3)

    def ranges(self) -> None:
        door = Flight(self.gateway.flight)
        single = SCAN.replace("postgres_big.", "postgres_one.")
        many, one = self.copies(SCAN), self.copies(single)
        ours, alone = self.clock(lambda: door.drain(SCAN)), self.clock(lambda: door.drain(single))
        bound = 0.67 if (os.cpu_count() or 1) >= 4 else 1.1
        ratio = ours.median / alone.median
        self.say(f"the same scan in {many} ranges", str(ours), f"in {one} {alone}", f"{ratio:.2f} x", f"{bound} x",
                 many > one == 1 and ratio <= bound)

    def copies(self, sql: str) -> int:
        self.tapped.rows("EXPLAIN ANALYZE " + sql)
        return len(reads(self.tapped.sent(sql)[1]["postgres"]))

    def join(self) -> None:
        for small in ("postgres_small.pick", "mariadb_small.pick"):
            expected = self.postgres.execute(JOIN.format(small="postgres_small.pick", big=MILLION)).fetchall()
            sql, hidden = (text.format(small=small, big=MILLION) for text in (JOIN, HIDDEN))
            for text in (sql, hidden):
                self.check("selective join", text, expected)
            ours, off = self.clock(lambda: self.gateway.rows(sql)), self.clock(lambda: self.gateway.rows(hidden))
            self.tapped.rows(sql)
            leaves, _ = self.tapped.sent(sql)
            fetched = sum(leaf.rows for leaf in leaves if leaf.source == "postgres_big")
            name = f"join of 10 k rows of {small.partition('_')[0]} with 1 M of postgres"
            gain = off.median / ours.median
            self.say(name, str(ours), f"filter hidden {off}", f"{gain:.1f} x faster", "5 x", gain >= 5)
            self.say("", f"{fetched:,} rows fetched", "10,000 needed", f"{10_000 / max(fetched, 1):.2f}", "0.8",
                     10_000 >= 0.8 * fetched)
            if small.startswith("postgres"):
                foreign = JOIN.format(small=small, big="foreign_big.million")
                if self.postgres.execute(foreign).fetchall() != expected:
                    raise ValueError("postgres_fdw answers otherwise")
                rival = self.clock(lambda: self.postgres.execute(foreign).fetchall())
                self.say("", str(ours), f"postgres_fdw {rival}", f"{ours.median / rival.median:.2f} x", "1.0 x",
                         ours.median <= rival.median)

    def empty(self) -> None:
        for small in ("postgres_small.pick", "mariadb_small.pick"):
            self.check("empty build side", EMPTY.format(small=small, big=MILLION), [(0, None)])
            asked, full = (self.heard(text.format(small=small, big=MILLION)) for text in (EMPTY, JOIN))
            self.say(f"empty build side in {small.partition('_')[0]}", f"{asked} statements heard at the probe source",
                     f"{full} with rows to join", "", "0", asked == 0 and full > 0)

    def heard(self, sql: str) -> int:
        """How many statements reach the large table, counted on the wire."""
        self.tapped.rows(sql)
        _, sent = self.tapped.sent(sql)
        return sum('"million"' in one.text for one in sent["postgres"])

    def planning(self, distribution: str) -> None:
        self.gateway.place(distribution)
        self.gateway.rows("EXPLAIN " + THREE)
        floor = self.clock(lambda: self.gateway.rows("SELECT 1"), 100)
        plan = self.clock(lambda: self.gateway.rows("EXPLAIN " + THREE), 100)
        cost = plan.median - floor.median
        self.say("planning, 5 tables of 3 sources", f"EXPLAIN {plan}", f"SELECT 1 {floor}", f"p50 {cost:.1f} ms", "5 ms",
                 cost <= 5)


class Flight:
    """A client of the Arrow door that counts and keeps nothing."""

    def __init__(self, address: str) -> None:
        self.client = flight.FlightClient(f"grpc://{address}")
        self.options = flight.FlightCallOptions(headers=[self.client.authenticate_basic_token("bench", "bench")])

    def drain(self, sql: str) -> tuple[int, int]:
        """Rows and bytes of an answer."""
        info = self.client.get_flight_info(flight.FlightDescriptor.for_command(command(sql)), self.options)
        rows = size = 0
        for endpoint in info.endpoints:
            for chunk in self.client.do_get(endpoint.ticket, self.options):
                rows, size = rows + chunk.data.num_rows, size + chunk.data.nbytes
        return rows, size


def command(sql: str) -> bytes:
    """`CommandStatementQuery` of Flight SQL inside its `Any`, encoded here: two fields are no reason for a library."""
    kind = b"type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery"
    return part(1, kind) + part(2, part(1, sql.encode()))


def part(number: int, value: bytes) -> bytes:
    size, length = b"", len(value)
    while length >= 128:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + value


def run_cases(gateway: Gateway, tapped: Gateway, distribution: str, report: Report, times: int) -> list[str]:
    """Every case, whatever became of the one before; returns what was wrong."""
    cases = Cases(gateway, tapped, report, times)
    report.say("## Cases")
    report.say()
    report.head("case", "gateway ms", "beside", "result", "bound", "kept")
    named = (cases.pushed, cases.kept, cases.scan, cases.ranges, cases.join, cases.empty)
    for case in (*named, lambda: cases.planning(distribution)):
        try:
            case()
        except (psycopg.Error, flight.FlightError, ValueError) as error:
            cases.wrong.append(f"case: {error}")
            report.row(str(error).splitlines()[0], "", "", "", "", "**failed**")
    report.say()
    return cases.wrong
