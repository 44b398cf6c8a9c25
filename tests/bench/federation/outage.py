"""One of three sources stops under load, and comes back, several times over: what the others notice of it.

Three servers of the case's own, a gateway over them, and clients that ask one source each at a steady pace, far from what
the machine can do (the share of its processors that was busy is said). Nobody stops asking while one server is frozen or
killed, stays away for a while and comes back, in turn with stretches in which all are well: so whatever drifts, drifts for
both. An answer that is wrong, or an error of a source that is well, ends the run with an error; a bound that did not hold
is a result. Whether it held is said by `tail.py`.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from asker import MISSED
from gateway import Served
from private import Mariadb, Postgres, Private
from report import Report, figure
from tail import LEAST, P, Window, compare, percentile, within

# Clients of each source, and seconds from one of their statements to the next.
CLIENTS, PACE = 2, 0.02
# Rows of the table that is read.
ROWS = 10_000
# Seconds: until nothing is new to anybody; of each window; and from a return until the next one begins.
WARM, WINDOW, AGAIN = 10.0, 32.0, 10.0
# How often the source is away.
TIMES = 3
RETURN, BOUND = 10.0, 1.1
FILL = {
    Postgres: ("CREATE TABLE probe AS SELECT n AS id, (n * 7)::int AS v FROM generate_series(0::bigint, {last}) AS n",
               "ALTER TABLE probe ADD PRIMARY KEY (id)", "ANALYZE probe"),
    Mariadb: ("CREATE DATABASE port", "CREATE TABLE port.probe (id bigint PRIMARY KEY, v int NOT NULL)",
              "INSERT INTO port.probe SELECT seq, seq * 7 FROM port.seq_0_to_{last}", "ANALYZE TABLE port.probe"),
}


@dataclass(frozen=True)
class Asked:
    """One statement of one client: when it was due, how long it took from then, and what came of it."""

    source: str
    due: float
    took: float
    # Nothing if it was answered rightly, else the SQLSTATE or what was wrong.
    trouble: str

    @property
    def ended(self) -> float:
        return self.due + self.took


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


def busy() -> tuple[float, float]:
    """Seconds that all processors together worked, and could have, since the machine began."""
    with open("/proc/stat") as stat:
        spent = [int(part) for part in stat.readline().split()[1:9]]
    tick = os.sysconf("SC_CLK_TCK")
    return (sum(spent) - spent[3] - spent[4]) / tick, sum(spent) / tick


@dataclass
class Course:
    """One round: windows in which all sources are there, those in which one is away, and its returns."""

    well: list[Window]
    away: list[Window]
    back: list[float]
    # Of the processors' time in the windows.
    busy: float


class Outage:
    """One gateway over three servers, and the rounds it goes through."""

    def __init__(self, binary: Path, folder: Path, report: Report) -> None:
        self.binary, self.folder, self.report, self.wrong = binary, folder / "outage", report, []

    def run(self) -> list[str]:
        self.report.say("## One of three sources stops under load")
        self.report.say()
        self.report.say(f"{CLIENTS} clients a source, a statement each {PACE * 1e3:.0f} ms; {TIMES} times away for"
                        f" {WINDOW:.0f} s, in turn with as long in which all are there; milliseconds p50 / p99 of all"
                        " windows of a state [p99 of the windows one by one], counted from when a statement was due;"
                        " busy: the processors, by everybody")
        self.report.say()
        self.report.head("what happens", "source", "all there", "one away", "p99 ratio [95 %]", "bound", "kept")
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
        load = Load(served.postgres, list(servers))
        time.sleep(WARM)
        course = self.course(servers[name], way)
        asked = load.end()

        what = f"{servers[name].kind} {way} ({course.busy:.0%} busy)"
        for source in servers:
            of = [one for one in asked if one.source == source]
            if source == name:
                self.victim(what, of, course)
            else:
                self.bystander(what, source, of, course)

    def course(self, victim: Private, way: str) -> Course:
        well, away, back, worked = [], [], [], [0.0, 0.0]

        def window(kind: list[Window], first: Callable[[], None] = lambda: None) -> None:
            before, began = busy(), time.monotonic()
            first()
            time.sleep(began + WINDOW - time.monotonic())
            kind.append(Window(began, time.monotonic()))
            for at, (earlier, later) in enumerate(zip(before, busy())):
                worked[at] += later - earlier

        for _ in range(TIMES):
            window(well)
            # Its going away is part of the window; its start is not, which costs what no gateway can help.
            window(away, victim.freeze if way == "frozen" else victim.kill)
            if way == "killed":
                victim.start()
            # A killed one is back once it takes sessions, a frozen one as soon as it may go on.
            back.append(time.monotonic())
            victim.thaw()
            time.sleep(AGAIN)
        return Course(well, away, back, worked[0] / worked[1])

    def bystander(self, what: str, source: str, asked: list[Asked], course: Course) -> None:
        self.wrong += [f"{what}: {source}: {one.trouble}" for one in asked if one.trouble not in ("", MISSED)][:3]
        windows = sorted(course.well + course.away, key=lambda window: window.began)
        for one in asked:
            if window := within(windows, one.due):
                window.add(one.due, one.took * 1e3)
        if few := [len(window.all()) for window in windows if len(window.all()) < LEAST]:
            self.wrong.append(f"{what}: {source} was asked {min(few)} times in a window, which needs {LEAST}")
            return
        found = compare(course.well, course.away)
        ratio = f"{found.ratio:.2f} x [{found.least:.2f}-{found.greatest:.2f}]"
        self.report.row(what, source, said(course.well), said(course.away), ratio, f"{BOUND} x", found.verdict(BOUND))

    def victim(self, what: str, asked: list[Asked], course: Course) -> None:
        self.wrong += [f"{what}: {one.trouble}" for one in asked if one.trouble.startswith("wrong")][:3]
        gone, back = [window.began for window in course.away], course.back
        early = [one for one in asked if one.trouble and one.ended < gone[0]]
        self.wrong += [f"{what}: {one.trouble} before it" for one in early][:3]
        sent = [one for one in asked if one.trouble != MISSED]
        troubles = Counter(one.trouble for one in sent if one.trouble)
        longest = max((one.took for one in sent), default=0.0)
        told = ", ".join(f"{count} x {state}" for state, count in troubles.most_common()) or "no error"
        firsts = []
        for at, until in zip(back, [*gone[1:], float("inf")]):
            answered = [one.ended - at for one in sent if not one.trouble and at <= one.ended < until]
            firsts.append(min(answered, default=float("inf")))
        result = f"answers {', '.join(f'{first:.1f}' for first in firsts)} s after its returns"
        kept = "yes" if max(firsts) <= RETURN else "**no**"
        self.report.row(what, "itself", told, f"longest wait {longest:.1f} s", result, f"{RETURN:.0f} s", kept)


def said(windows: list[Window]) -> str:
    """What came of the windows of one state."""
    each = [percentile(window.all(), P) for window in windows]
    pooled = [one for window in windows for one in window.all()]
    middle, tail = statistics.median(pooled), percentile(pooled, P)
    return f"{figure(middle)} / {figure(tail)} [{', '.join(map(figure, each))}]"


def run_outage(binary: Path, folder: Path, report: Report) -> list[str]:
    """All rounds; returns what was wrong."""
    return Outage(binary, folder, report).run()
