"""Servers of a case's own, which it may freeze, kill and start again: the programs are those of the shared ones.

Data lie in a temporary folder that goes with the server. It must never touch a process that it did not start.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pymysql

from stores import mariadb, postgres, url

# Whom servers run as that refuse to be root.
NOBODY = 65_534
# A server is up within this time, seconds.
SOON = 60.0
LOOPBACK = "127.0.0.1"


class Private:
    """One server process with its folder and port; stopped and removed when the block ends."""

    kind = ""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="portolan-bench-"))
        own(self.folder)
        with socket.create_server((LOOPBACK, 0)) as free:
            self.port = free.getsockname()[1]
        self.libraries: str | None = None
        self.command = self.prepare()
        self.process: subprocess.Popen | None = None
        self.start()
        # What a server made of nothing need not be on the disk before it was once stopped in order.
        self.process.terminate()
        self.process.wait(SOON)
        self.start()

    def __enter__(self) -> "Private":
        return self

    def __exit__(self, *_) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def prepare(self) -> list[str]:
        """Makes the data; the command of the server."""
        raise NotImplementedError

    def run(self, *statements: str) -> None:
        """Statements, by a session of their own."""
        raise NotImplementedError

    def configured(self) -> str:
        """The server as a source of the gateway."""
        raise NotImplementedError

    def start(self) -> None:
        """Starts the server on its data, and returns once a client gets a session."""
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, **self.as_whom())
        until = time.monotonic() + SOON
        while True:
            try:
                return self.run("SELECT 1")
            except (psycopg.Error, pymysql.Error, OSError):
                if time.monotonic() > until or self.process.poll() is not None:
                    raise RuntimeError((self.folder / "log").read_text()[-2000:]) from None
                time.sleep(0.02)

    def as_whom(self) -> dict:
        environment = {"PATH": "/usr/bin:/bin", "TZ": "UTC"}
        if self.libraries:
            environment["LD_LIBRARY_PATH"] = self.libraries
        who = {"user": NOBODY, "group": NOBODY} if os.geteuid() == 0 else {}
        return {"cwd": self.folder, "env": environment, "stdin": subprocess.DEVNULL, **who}

    def freeze(self) -> None:
        """Stops every process of the server where it is, without a word."""
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """Ends every process of the server at once."""
        self.send(signal.SIGKILL)
        if self.process:
            self.process.wait()
        self.process = None

    def send(self, what: signal.Signals) -> None:
        if not self.process or self.process.poll() is not None:
            return
        # The first process first: it would start others.
        os.kill(self.process.pid, what)
        for child in children(self.process.pid):
            try:
                os.kill(child, what)
            except ProcessLookupError:
                pass


class Postgres(Private):
    kind = "PostgreSQL"

    def prepare(self) -> list[str]:
        with postgres(urlsplit(url("POSTGRES")).path.lstrip("/") or "postgres") as shared:
            programs = Path(shared.execute("SELECT setting FROM pg_config WHERE name = 'BINDIR'").fetchone()[0])
        data = self.folder / "data"
        create = [programs / "initdb", "--username=portolan", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync",
                  "--auth=trust", f"--pgdata={data}"]
        subprocess.run(create, check=True, stdout=subprocess.DEVNULL, **self.as_whom())
        settings = (f"listen_addresses={LOOPBACK}", "unix_socket_directories=", "fsync=off", "shared_buffers=32MB")
        return [str(programs / "postgres"), "-D", str(data), "-p", str(self.port),
                *(part for setting in settings for part in ("-c", setting))]

    def run(self, *statements: str) -> None:
        at = {"host": LOOPBACK, "port": self.port, "user": "portolan", "dbname": "postgres", "connect_timeout": 5}
        with psycopg.connect(**at, autocommit=True) as session:
            for statement in statements:
                session.execute(statement)

    def configured(self) -> str:
        return (f"postgres: {{ host: {LOOPBACK}, port: {self.port}, user: portolan, database: postgres,"
                " schema: public }")


class Mariadb(Private):
    kind = "MariaDB"

    def prepare(self) -> list[str]:
        with mariadb() as shared, shared.cursor() as cursor:
            cursor.execute("SELECT @@basedir, @@lc_messages_dir")
            base, messages = cursor.fetchone()
        data = self.folder / "data"
        data.mkdir()
        own(data)
        self.libraries = str(Path(base) / "lib/x86_64-linux-gnu")
        return [str(Path(base) / "sbin/mariadbd"), "--no-defaults", f"--basedir={base}", f"--datadir={data}",
                f"--lc-messages-dir={messages}", f"--port={self.port}", f"--socket={self.folder / 'socket'}",
                f"--bind-address={LOOPBACK}", "--skip-grant-tables", "--skip-name-resolve",
                "--performance-schema=0", "--innodb-log-file-size=8M", "--innodb-buffer-pool-size=32M",
                "--character-set-server=utf8mb4"]

    def run(self, *statements: str) -> None:
        at = {"host": LOOPBACK, "port": self.port, "user": "root", "autocommit": True, "connect_timeout": 5}
        with pymysql.connect(**at) as session, session.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def configured(self) -> str:
        return f"mysql: {{ host: {LOOPBACK}, port: {self.port}, user: root, database: port }}"


def own(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)


def children(parent: int) -> list[int]:
    """The processes that a process of ours started."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"\nPPid:\t{parent}\n" in (entry / "status").read_text():
                found.append(int(entry.name))
        except OSError:
            pass
    return found
