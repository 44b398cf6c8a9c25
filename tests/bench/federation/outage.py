"""One of three sources stops under load: what the others notice, and how soon it answers again.

Three servers of the case's own, a gateway over them, and clients that each ask one source at a steady pace. One server
is frozen or killed while all of them ask, stays away for a while, and comes back. Nobody stops asking. An answer that is
wrong, or an error of a source that is well, ends the run with an error; a bound that did not hold is a result.
"""

import json
import math
import statistics
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from gateway import Served
from private import Mariadb, Postgres, Private
from report import Report, figure

# Clients of each source, and seconds from one of their statements to the next.
CLIENTS, PACE = 2, 0.02
# Rows of the table that is read.
ROWS = 10_000
# Seconds: until nothing is new to anybody; under measure; away; and at most until it answers again.
WARM, BEFORE, AWAY, AFTER = 5.0, 20.0, 30.0, 20.0
RETURN, BOUND = 10.0, 1.1
FILL = {
    Postgres: ("CREATE TABLE probe AS SELECT n AS id, (n * 7)::int AS v FROM generate_series(0::bigint, {last}) AS n",
               "ALTER TABLE probe ADD PRIMARY KEY (id)", "ANALYZE probe"),
    Mariadb: ("CREATE DATABASE port", "CREATE TABLE port.probe (id bigint PRIMARY KEY, v int NOT NULL)",
              "INSERT INTO port.probe SELECT seq, seq * 7 FROM port.seq_0_to_{last}", "ANALYZE TABLE port.probe"),
}


@dataclass(frozen=True)
class Asked:
    """One statement of one client: when it began, how long it took, and what came of it."""

    source: str
    began: float
    took: float
    # Nothing if it was answered rightly, else the SQLSTATE or what was wrong.
    trouble: str

    @property
    def ended(self) -> float:
        return self.began + self.took


class Load:
    """The clients of all sources."""

    def __init__(self, address: tuple[str, int], sources: list[str]) -> None:
        self.clients = []
        for seed, source in enumerate(source for source in sources for _ in range(CLIENTS)):
            command = [sys.executable, Path(__file__).with_name("asker.py"), address[0], str(address[1]), source,
                       str(ROWS), str(PACE), str(seed)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self.clients.append((source, process))
        for source, process in self.clients:
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(f"a client of {source} did not start")

    def end(self) -> list[Asked]:
        for _, process in self.clients:
            process.stdin.close()
        asked = []
        for source, process in self.clients:
            asked += [Asked(source, *one) for one in json.loads(process.stdout.read())]
            process.wait(60)
        return asked


def percentile(taken: list[float], share: float) -> float:
    taken = sorted(taken)
    return taken[min(len(taken) - 1, math.ceil(share * len(taken)) - 1)]


class Outage:
    """One gateway over three servers, and the rounds it goes through."""

    def __init__(self, binary: Path, folder: Path, report: Report) -> None:
        self.binary, self.folder, self.report, self.wrong = binary, folder / "outage", report, []

    def run(self) -> list[str]:
        self.report.say("## One of three sources stops under load")
        self.report.say()
        self.report.say(f"{CLIENTS} clients a source, a statement each {PACE * 1e3:.0f} ms; away for {AWAY:.0f} s;"
                        " milliseconds p50 / p99")
        self.report.say()
        self.report.head("what happens", "source", "before", "while it is away", "after", "result", "bound", "kept")
        with ExitStack() as stack:
            servers: dict[str, Private] = {}
            for name, kind in (("ops", Postgres), ("tos", Mariadb), ("crm", Postgres)):
                servers[name] = stack.enter_context(kind())
                servers[name].run(*(statement.format(last=ROWS - 1) for statement in FILL[kind]))
            served = stack.enter_context(Served(self.binary, self.configure(servers), self.folder))
            for name in ("ops", "tos"):
                for way in ("frozen", "killed"):
                    self.round(served, servers, name, way)
        self.report.say()
        return self.wrong

    def configure(self, servers: dict[str, Private]) -> Path:
        (self.folder / "pipelines").mkdir(parents=True, exist_ok=True)
        (self.folder / "bench.password").write_text("bench")
        lines = ["name: outage", f"data_dir: {self.folder / 'data'}", f"pipelines: {self.folder / 'pipelines'}",
                 f"users: {{ bench: {{ password: {{ file: {self.folder / 'bench.password'} }} }} }}", "sources:"]
        lines += [f"  {name}: {{ {server.configured()} }}" for name, server in servers.items()]
        path = self.folder / "portolan.yaml"
        path.write_text("\n".join(lines) + "\n")
        return path

    def round(self, served: Served, servers: dict[str, Private], name: str, way: str) -> None:
        victim = servers[name]
        load = Load(served.postgres, list(servers))
        time.sleep(WARM)
        began = time.monotonic()
        time.sleep(BEFORE)
        gone = time.monotonic()
        victim.freeze() if way == "frozen" else victim.kill()
        time.sleep(AWAY)
        if way == "killed":
            victim.start()
        # A killed one is back once it takes sessions, a frozen one as soon as it may go on.
        back = time.monotonic()
        victim.thaw()
        time.sleep(AFTER)
        asked = load.end()

        what = f"{victim.kind} {way}"
        for source in servers:
            of = [one for one in asked if one.source == source]
            if source == name:
                self.victim(what, of, gone, back)
            else:
                self.bystander(what, source, of, (began, gone, back))

    def bystander(self, what: str, source: str, asked: list[Asked], at: tuple[float, float, float]) -> None:
        self.wrong += [f"{what}: {source}: {one.trouble}" for one in asked if one.trouble][:3]
        began, gone, back = at
        spans = [[one.took * 1e3 for one in asked if start <= one.began < end]
                 for start, end in ((began, gone), (gone, back), (back, math.inf))]
        before, away, after = spans
        cells = [f"{figure(statistics.median(span))} / {figure(percentile(span, 0.99))}" if span else "-" for span in spans]
        if not (before and away and after):
            self.wrong.append(f"{what}: {source} was not asked all the time")
            return
        ratio = percentile(away, 0.99) / percentile(before, 0.99)
        self.report.row(what, source, *cells, f"p99 {ratio:.2f} x", f"{BOUND} x", "yes" if ratio <= BOUND else "**no**")

    def victim(self, what: str, asked: list[Asked], gone: float, back: float) -> None:
        self.wrong += [f"{what}: {one.trouble}" for one in asked if one.trouble.startswith("wrong")][:3]
        early = [one for one in asked if one.trouble and one.ended < gone]
        self.wrong += [f"{what}: {one.trouble} before it" for one in early][:3]
        troubles = Counter(one.trouble for one in asked if one.trouble)
        longest = max((one.took for one in asked), default=0.0)
        told = ", ".join(f"{count} x {state}" for state, count in troubles.most_common()) or "no error"
        answered = [one.ended - back for one in asked if not one.trouble and one.ended >= back]
        first = min(answered, default=None)
        result = "never answered" if first is None else f"answers {first:.1f} s after its return"
        kept = first is not None and first <= RETURN
        self.report.row(what, "itself", "", told, f"longest wait {longest:.1f} s", result, f"{RETURN:.0f} s",
                        "yes" if kept else "**no**")


def run_outage(binary: Path, folder: Path, report: Report) -> list[str]:
    """All rounds; returns what was wrong."""
    return Outage(binary, folder, report).run()
