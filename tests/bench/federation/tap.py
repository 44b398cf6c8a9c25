"""Listens between the gateway and a server, so that what was sent is known from the wire and not from a plan.

Only runs that are not timed go through it. It must never change a byte.
"""

import socket
import struct
import threading
from dataclasses import dataclass, field

PREPARE, EXECUTE, QUERY = 0x16, 0x17, 0x03


@dataclass(frozen=True)
class Statement:
    """What a server was told to do: its text and, if it was prepared, the packet that ran it."""

    text: str
    execute: bytes = b""


@dataclass
class Tap:
    """One server behind a port of its own."""

    host: str
    port: int
    postgres: bool
    statements: list[Statement] = field(default_factory=list)
    received: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def listening(self) -> int:
        return self.listener.getsockname()[1]

    def forget(self) -> None:
        with self.lock:
            self.statements, self.received = [], 0

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection((self.host, self.port))
            except OSError:
                return
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ear = (PostgresEar if self.postgres else MariadbEar)(self)
            for source, to, hear in ((client, server, ear.asked), (server, client, ear.answered)):
                threading.Thread(target=carry, args=(source, to, hear), daemon=True).start()

    def heard(self, statement: Statement) -> None:
        with self.lock:
            self.statements.append(statement)


def carry(source: socket.socket, to: socket.socket, hear) -> None:
    try:
        while portion := source.recv(1 << 18):
            hear(portion)
            to.sendall(portion)
    except OSError:
        pass
    for one in (source, to):
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class PostgresEar:
    """Frontend messages: `Q` with its text, `P` with a name and its text. The first ones have no type byte."""

    def __init__(self, tap: Tap) -> None:
        self.tap, self.rest, self.started = tap, b"", False

    def asked(self, portion: bytes) -> None:
        self.rest += portion
        while len(self.rest) >= (head := 5 if self.started else 4):
            size = struct.unpack(">I", self.rest[head - 4:head])[0] + head - 4
            if len(self.rest) < size:
                return
            message, self.rest = self.rest[:size], self.rest[size:]
            if self.started and message[:1] == b"Q":
                self.tap.heard(Statement(message[5:-1].decode()))
            elif self.started and message[:1] == b"P":
                self.tap.heard(Statement(message[5:].split(b"\0")[1].decode()))
            # A request for TLS or a cancel is answered without a session.
            self.started = self.started or message[4:8] == struct.pack(">I", 196608)

    def answered(self, portion: bytes) -> None:
        self.tap.received += len(portion)


class MariadbEar:
    """Command packets: a query's text, or a prepared statement's text and the packet that runs it."""

    def __init__(self, tap: Tap) -> None:
        self.tap, self.rest, self.preparing, self.prepared = tap, b"", None, {}

    def asked(self, portion: bytes) -> None:
        self.rest += portion
        while len(self.rest) >= 4:
            size = int.from_bytes(self.rest[:3], "little") + 4
            if len(self.rest) < size:
                return
            number, packet, self.rest = self.rest[3], self.rest[4:size], self.rest[size:]
            # Packets of the handshake carry later numbers; commands start again at 0.
            if number == 0 and packet:
                self.command(packet)

    def command(self, packet: bytes) -> None:
        if packet[0] == QUERY:
            self.tap.heard(Statement(packet[1:].decode(errors="replace")))
        elif packet[0] == PREPARE:
            self.preparing = packet[1:].decode(errors="replace")
        elif packet[0] == EXECUTE:
            self.tap.heard(Statement(self.prepared.get(packet[1:5], ""), packet))

    def answered(self, portion: bytes) -> None:
        self.tap.received += len(portion)
        if self.preparing is not None and len(portion) >= 9 and portion[4] == 0:
            self.prepared[portion[5:9]] = self.preparing
        self.preparing = None
