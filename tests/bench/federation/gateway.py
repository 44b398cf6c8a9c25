"""One gateway over the filled stores: configuration, process, connection, and what EXPLAIN tells of a leaf."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg

from placement import STORES, TABLES, schema
from stores import DATABASE, url
from tap import Statement, Tap

LEAF = re.compile(
    r"FederatedScan source=(\w+).*?sent: (.*?)(?: (?:rewrite: |superset: |kept: |runtime: |as_of=).*)?, metrics=\[(.*)\]"
)
SERVERS = {"postgres": "POSTGRES", "mariadb": "MYSQL"}
READ = re.compile(r"[\"`. ](" + "|".join(TABLES) + r")[\"` ]")


@dataclass(frozen=True)
class Leaf:
    """One read of one source: what was sent, and what came."""

    source: str
    sent: str
    rows: int
    bytes: int

    @property
    def store(self) -> str:
        return self.source.partition("_")[0]

    @property
    def tables(self) -> list[str]:
        """What it reads; a table that is joined to itself in its source is named twice."""
        return READ.findall(self.sent.partition(" FROM ")[2] or self.sent)


class Served:
    """A process `portolan serve` on ports of its own; stopped when the block ends."""

    def __init__(self, binary: Path, config: Path, home: Path) -> None:
        ports = [part for door in ("pg", "flight", "http") for part in (f"--{door}-port", "0")]
        command = [binary, "serve", "--config", config, "--json", *ports]
        self.log = open(home / "gateway.log", "w")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        if not (line := self.process.stdout.readline()):
            raise RuntimeError(f"the gateway did not start: see {home / 'gateway.log'}")
        ready = json.loads(line)
        host, port = ready["pg"].rsplit(":", 1)
        self.postgres, self.flight = (host, int(port)), ready["flight"]

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *_) -> None:
        self.end()

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)
        self.log.close()


class Gateway:
    """`portolan serve` on ports of its own; stopped when the block ends.

    A tapped one reaches the servers through taps: for what was sent, never for times.
    """

    def __init__(self, binary: Path, folder: Path, loaded: str, tapped: bool = False) -> None:
        home = folder / ("tapped" if tapped else "gateway")
        (home / "pipelines").mkdir(parents=True, exist_ok=True)
        at = {store: urlsplit(url(name)) for store, name in SERVERS.items()}
        self.taps = {store: Tap(at[store].hostname, at[store].port, store == "postgres") for store in at if tapped}
        reached = {store: self.taps[store].listening if tapped else at[store].port for store in at}
        config = write_config(home, folder / "delta", loaded, reached)
        ports = [part for door in ("pg", "flight", "http") for part in (f"--{door}-port", "0")]
        self.served = Served(binary, config, home)
        self.flight = self.served.flight
        host, port = self.served.postgres
        self.connection = psycopg.connect(
            host=host, port=port, dbname="portolan", user="bench", password="bench", autocommit=True,
            # The same text means other tables after each SET search_path, and a prepared one may not change its types.
            prepare_threshold=None,
        )

    def __enter__(self) -> "Gateway":
        return self

    def __exit__(self, *_) -> None:
        self.connection.close()
        self.served.end()

    def place(self, distribution: str) -> None:
        """Lets unqualified names mean the tables of one distribution."""
        self.connection.execute("SET search_path = " + ", ".join(schema(store, distribution) for store in STORES))

    def set(self, setting: str, value: str) -> None:
        self.connection.execute(f"SET {setting} = {value}")

    def rows(self, sql: str) -> list[tuple]:
        return self.connection.execute(sql).fetchall()

    def sent(self, sql: str) -> tuple[list[Leaf], dict[str, list[Statement]]]:
        """Runs the query once more under EXPLAIN ANALYZE: what each leaf moved, and what its taps heard meanwhile."""
        for tap in self.taps.values():
            tap.forget()
        plan = [line for row in self.rows("EXPLAIN ANALYZE " + sql) for cell in row for line in str(cell).splitlines()]
        return [leaf for line in plan if (leaf := leaf_of(line))], {
            store: list(self.taps[store].statements) if store in self.taps else [] for store in STORES
        }

    def received(self) -> int:
        """Bytes that the servers have sent since the statement before this one."""
        return sum(tap.received for tap in self.taps.values())


def leaf_of(line: str) -> Leaf | None:
    if not (match := LEAF.search(line)):
        return None
    metrics = dict(item.split("=", 1) for item in match[3].split(", ") if "=" in item)
    return Leaf(match[1], match[2], number(metrics.get("output_rows", "0")), number(metrics.get("bytes", "0")))


def number(text: str) -> int:
    """A metric's figure, such as `1187`, `1.19 K` or `47.7 MB`."""
    value, _, unit = text.strip().partition(" ")
    scale = {"": 1, "K": 1e3, "M": 1e6, "B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3}
    return round(float(value) * scale[unit.strip()])


def write_config(home: Path, lake: Path, loaded: str, ports: dict[str, int]) -> Path:
    secrets = {}
    for store, name in SERVERS.items():
        secrets[store] = home / f"{store}.password"
        secrets[store].write_text(unquote(urlsplit(url(name)).password or ""))
        secrets[store].chmod(0o600)
    (home / "bench.password").write_text("bench")
    hosts = {store: f"host: {urlsplit(url(name)).hostname}, port: {ports[store]}, user: {urlsplit(url(name)).username},"
             f" password: {{ file: {secrets[store]} }}" for store, name in SERVERS.items()}
    lines = [
        "name: bench",
        f"data_dir: {home / 'data'}",
        f"pipelines: {home / 'pipelines'}",
        f"users: {{ bench: {{ password: {{ file: {home / 'bench.password'} }} }} }}",
        "sources:",
    ]
    for distribution in loaded:
        lines.append(f"  delta_{distribution}: {{ lake: {{ root: {lake / distribution} }} }}")
    for space in [schema("postgres", distribution) for distribution in loaded] + ["postgres_big", "postgres_small"]:
        lines.append(f"  {space}: {{ postgres: {{ {hosts['postgres']}, database: {DATABASE}, schema: {space} }} }}")
    # The large table once more, by one connection: it is never read in ranges.
    lines.append(f"  postgres_one: {{ postgres: {{ {hosts['postgres']}, database: {DATABASE}, schema: postgres_big,"
                 " connections: 1 } }")
    for space in [schema("mariadb", distribution) for distribution in loaded] + ["mariadb_small"]:
        lines.append(f"  {space}: {{ mysql: {{ {hosts['mariadb']}, database: {space} }} }}")
    path = home / "portolan.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path
