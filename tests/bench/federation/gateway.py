"""One gateway over the filled stores: its configuration, its process, its connection, and what EXPLAIN tells of a leaf."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg

from placement import DISTRIBUTIONS, STORES, schema
from stores import DATABASE, url

LEAF = re.compile(r"FederatedScan source=(\w+).*?sent: (.*?)(?: (?:rewrite: |superset: |kept: |runtime: |as_of=).*)?, metrics=\[(.*)\]")


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


class Gateway:
    """`portolan serve` on ports of its own; stopped when the block ends."""

    def __init__(self, binary: Path, folder: Path) -> None:
        config = write_config(folder)
        command = [binary, "serve", "--config", config, "--json", "--pg-port", "0", "--flight-port", "0", "--http-port", "0"]
        self.log = open(folder / "gateway.log", "w")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        ready = json.loads(self.process.stdout.readline())
        host, port = ready["pg"].rsplit(":", 1)
        self.connection = psycopg.connect(
            host=host, port=port, dbname="portolan", user="bench", password="bench", autocommit=True,
            # The same text means other tables after each SET search_path, and a prepared one may not change its types.
            prepare_threshold=None,
        )

    def __enter__(self) -> "Gateway":
        return self

    def __exit__(self, *_) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.wait(timeout=30)
        self.log.close()

    def place(self, distribution: str) -> None:
        """Lets unqualified names mean the tables of one distribution."""
        self.connection.execute("SET search_path = " + ", ".join(schema(store, distribution) for store in STORES))

    def rows(self, sql: str) -> list[tuple]:
        return self.connection.execute(sql).fetchall()

    def leaves(self, sql: str) -> list[Leaf]:
        """Runs the query once more and reads what each leaf moved."""
        plan = "\n".join(line for row in self.rows("EXPLAIN ANALYZE " + sql) for line in row if isinstance(line, str))
        found = []
        for line in plan.splitlines():
            if match := LEAF.search(line):
                metrics = dict(item.split("=", 1) for item in match[3].split(", ") if "=" in item)
                found.append(
                    Leaf(match[1], match[2], number(metrics.get("output_rows", "0")), number(metrics.get("bytes", "0")))
                )
        return found


def number(text: str) -> int:
    """A metric's figure, such as `1187`, `1.19 K` or `47.7 MB`."""
    value, _, unit = text.strip().partition(" ")
    scale = {"": 1, "K": 1e3, "M": 1e6, "B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3}
    return round(float(value) * scale[unit.strip()])


def write_config(folder: Path) -> Path:
    (folder / "pipelines").mkdir(exist_ok=True)
    secrets = {}
    for name in ("POSTGRES", "MYSQL"):
        at = urlsplit(url(name))
        secrets[name] = folder / f"{name.lower()}.password"
        secrets[name].write_text(unquote(at.password or ""))
        secrets[name].chmod(0o600)
    (folder / "bench.password").write_text("bench")
    postgres, mariadb = urlsplit(url("POSTGRES")), urlsplit(url("MYSQL"))
    lines = [
        "name: bench",
        f"data_dir: {folder / 'gateway'}",
        f"pipelines: {folder / 'pipelines'}",
        f"users: {{ bench: {{ password: {{ file: {folder / 'bench.password'} }} }} }}",
        "sources:",
    ]
    for distribution in DISTRIBUTIONS:
        lines.append(f"  delta_{distribution}: {{ lake: {{ root: {folder / 'delta' / distribution} }} }}")
        lines.append(
            f"  {schema('postgres', distribution)}: {{ postgres: {{ host: {postgres.hostname}, port: {postgres.port},"
            f" database: {DATABASE}, user: {postgres.username}, password: {{ file: {secrets['POSTGRES']} }},"
            f" schema: {schema('postgres', distribution)} }} }}"
        )
        lines.append(
            f"  {schema('mariadb', distribution)}: {{ mysql: {{ host: {mariadb.hostname}, port: {mariadb.port},"
            f" database: {schema('mariadb', distribution)}, user: {mariadb.username},"
            f" password: {{ file: {secrets['MYSQL']} }} }} }}"
        )
    path = folder / "portolan.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path
