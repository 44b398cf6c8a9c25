"""What it costs to bring the same answers over the wire and do nothing with them.

The statements are those that a tap heard, with their runtime filters; each is sent again and its answer thrown away as
bytes. Nothing is decoded: a client that also makes rows of them would be a rival, not a limit.
"""

import re
import select
import socket
import struct
import time
from pathlib import Path

import datafusion
import deltalake

from gateway import Leaf
from placement import STORES, TABLES, schema
from stores import DATABASE, mariadb, postgres
from tap import EXECUTE, PREPARE, QUERY, Statement

# COPY … complete, ready for the next statement.
COPIED = re.compile(rb"C\0\0\0.COPY \d+\0Z\0\0\0\x05I\Z", re.S)
DELTA = re.compile(r"delta (\w+)\.(\w+) columns \[([^\]]*)\](.*)")


class Drains:
    """Connections that only drain, one for each store."""

    def __init__(self, folder: Path) -> None:
        self.postgres, self.mariadb, self.lake = PostgresDrain(), MariadbDrain(), LakeDrain(folder)

    def milliseconds(self, sent: dict[str, list[Statement]], leaves: list[Leaf]) -> float:
        """Stores answer at once, the statements of one store one after another: the slowest store is the limit."""
        runs = {
            "postgres": lambda: [self.postgres.drain(one.text) for one in reads(sent["postgres"])],
            "mariadb": lambda: [self.mariadb.drain(one) for one in reads(sent["mariadb"])],
            "delta": lambda: [self.lake.drain(leaf) for leaf in leaves if leaf.store == "delta"],
        }
        taken = [0.0]
        for store in STORES:
            start = time.perf_counter()
            runs[store]()
            taken.append((time.perf_counter() - start) * 1e3)
        return max(taken)


def reads(statements: list[Statement]) -> list[Statement]:
    """Those that read a table; the others open transactions and ask for versions."""
    return [one for one in statements if one.text.startswith("COPY (") or one.execute and "`.`" in one.text]


class PostgresDrain:
    """COPY in binary, as the gateway asks for it, over libpq's socket but not through libpq."""

    def __init__(self) -> None:
        self.connection = postgres(DATABASE)
        self.connection.execute("SET timezone = 'UTC'")
        self.socket = socket.socket(fileno=self.connection.fileno())

    def drain(self, copy: str) -> int:
        text = copy.encode() + b"\0"
        send(self.socket, b"Q" + struct.pack(">I", len(text) + 4) + text)
        return swallow(self.socket, lambda tail: COPIED.search(tail) is not None or b"ERROR\0C" in tail)


class MariadbDrain:
    """The very packet that the gateway sent, for a statement prepared here from the same text."""

    TOKEN = b"drained-to-here"

    def __init__(self) -> None:
        self.connection = mariadb(init_command="SET time_zone = '+00:00', sql_mode = 'STRICT_TRANS_TABLES'")
        self.socket = self.connection._sock
        self.prepared: dict[str, bytes] = {}

    def drain(self, statement: Statement) -> int:
        if statement.text not in self.prepared:
            self.connection._execute_command(PREPARE, statement.text)
            answer = self.connection._read_packet()
            self.prepared[statement.text] = answer._data[1:5]
            columns, parameters = struct.unpack("<HH", answer._data[5:9])
            # Definitions of the parameters and of the columns, each list with an end.
            for count in (parameters, columns):
                for _ in range(count + 1 if count else 0):
                    self.connection._read_packet()
        run = bytes([EXECUTE]) + self.prepared[statement.text] + statement.execute[5:]
        # The second statement's answer cannot come before the first one's end, and cannot be taken for data.
        token = bytes([QUERY]) + b"SELECT '" + self.TOKEN + b"'"
        for packet in (run, token):
            self.socket.sendall(len(packet).to_bytes(3, "little") + b"\0" + packet)
        return swallow(self.socket, lambda tail: tail[-9:-7] == b"\x05\0" and tail[-5:-4] == b"\xfe"
                       and tail[-9 - len(self.TOKEN):-9] == self.TOKEN)


class LakeDrain:
    """Bare DataFusion over the files that the table's log names: the columns of a leaf, with its conditions if told."""

    def __init__(self, folder: Path) -> None:
        self.context = datafusion.SessionContext()
        self.types: dict[str, str] = {}
        for space in sorted(folder.glob("delta/*/gold")):
            for table in TABLES:
                if (space / table).exists():
                    name = f"{schema('delta', space.parent.name)}_{table}"
                    files = deltalake.DeltaTable(str(space / table)).file_uris()
                    self.context.register_parquet(name, files[0] if len(files) == 1 else str(space / table))
                    for field in self.context.table(name).schema():
                        self.types[field.name] = str(field.type)

    def drain(self, leaf: Leaf) -> int:
        space, table, columns, rest = DELTA.match(leaf.sent).groups()
        where = self.condition(rest)
        sql = f"SELECT {columns or '1'} FROM {space}_{table}" + (f" WHERE {where}" if where else "")
        return sum(batch.to_pyarrow().num_rows for batch in self.context.sql(sql).execute_stream())

    def condition(self, rest: str) -> str:
        """The conjuncts that are plain comparisons; the others only make this limit a weaker one."""
        found = []
        for part in rest.removeprefix(" where ").split(" AND "):
            if match := re.fullmatch(r"(\w+) (=|!=|<|<=|>|>=) (\S+)", part.strip()):
                column, sign, value = match.groups()
                kind = self.types.get(column, "")
                if value in self.types:
                    found.append(f"{column} {sign} {value}")
                elif "date" in kind and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
                    found.append(f"{column} {sign} date '{value}'")
                elif "string" in kind:
                    found.append(f"{column} {sign} '{value}'")
        return " AND ".join(found)


def send(to: socket.socket, packet: bytes) -> None:
    """All of it, on a socket that must stay as it is, waiting or not."""
    left = memoryview(packet)
    while left:
        select.select([], [to], [])
        left = left[to.send(left):]


def swallow(source: socket.socket, done) -> int:
    """Reads until the end is seen; returns how many bytes came."""
    buffer, tail, total = bytearray(1 << 18), b"", 0
    while True:
        try:
            size = source.recv_into(buffer)
        except BlockingIOError:
            select.select([source], [], [])
            continue
        if not size:
            raise ConnectionError("the server has gone")
        total += size
        tail = (tail + bytes(buffer[max(0, size - 256):size]))[-256:]
        if done(tail):
            return total
