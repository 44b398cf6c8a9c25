"""Fills the stores with TPC-H, once per scale: PostgreSQL by COPY, MariaDB by LOAD DATA, Delta from the same Parquet.

It must never load what is already whole: the mark is written last.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import deltalake
import psycopg
import pyarrow
import pyarrow.parquet
import pymysql

from placement import COLUMNS, DISTRIBUTIONS, KEYS, TABLES, schema

DATABASE = "portolan_bench"


def url(name: str) -> str:
    """Where a test server is: its variable, or what `cargo x up` wrote down."""
    variable = f"PORTOLAN_TEST_{name}_URL"
    if found := os.environ.get(variable):
        return found
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for line in (cache / "portolan/servers/env").read_text().splitlines():
        if line.startswith(variable + "="):
            return line.split("=", 1)[1]
    sys.exit(f"{variable} is not known: run `cargo x up`")


def postgres(database: str) -> psycopg.Connection:
    return psycopg.connect(urlsplit(url("POSTGRES"))._replace(path="/" + database).geturl(), autocommit=True)


def mariadb(**options) -> pymysql.Connection:
    at = urlsplit(url("MYSQL"))
    return pymysql.connect(
        host=at.hostname, port=at.port, user=at.username, password=at.password or "", autocommit=True, **options
    )


def generate(folder: Path, scale: float, kind: str) -> None:
    """TPC-H as `parquet` for the engines and Delta, or as bar-separated text, `tbl`, for the two servers."""
    to = folder / kind
    if not (to / "complete").exists():
        to.mkdir(parents=True, exist_ok=True)
        generator = Path(sys.executable).with_name("tpchgen-cli")
        subprocess.run([generator, kind, "-s", str(scale), "--output-dir", to], check=True, stdout=sys.stderr)
        (to / "complete").touch()


def fill(folder: Path, scale: float, wanted: str) -> str:
    """Loads every store's part of the wanted distributions, unless it is there; returns which are there now."""
    mark = folder / "loaded"
    # A server that was made anew has lost what the mark speaks of.
    stamp = f"{url('POSTGRES')} {url('MYSQL')}"
    there = held(scale) if mark.exists() and mark.read_text() == stamp else None
    generate(folder, scale, "parquet")
    if there is not None and set(wanted) <= set(there):
        return there
    generate(folder, scale, "tbl")
    fill_postgres(folder / "tbl", wanted)
    fill_mariadb(folder / "tbl", wanted)
    fill_delta(folder, wanted)
    fill_cases()
    with postgres(DATABASE) as server:
        server.execute("CREATE TABLE bench AS SELECT %s::float8 AS scale, %s::text AS distributions", [scale, wanted])
    mark.write_text(stamp)
    # As large as the stores themselves, and made again in seconds.
    shutil.rmtree(folder / "tbl")
    return wanted


def held(scale: float) -> str | None:
    try:
        with postgres(DATABASE) as server:
            found = server.execute("SELECT distributions FROM bench WHERE scale = %s", [scale]).fetchone()
            return found and found[0]
    except psycopg.Error:
        return None


def fill_postgres(text: Path, wanted: str) -> None:
    with postgres("postgres") as server:
        server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        server.execute(f"CREATE DATABASE {DATABASE}")
    with postgres(DATABASE) as server:
        for distribution in wanted:
            space = schema("postgres", distribution)
            server.execute(f"CREATE SCHEMA {space}")
            for table in DISTRIBUTIONS[distribution]["postgres"]:
                server.execute(f"CREATE TABLE {space}.{table} ({COLUMNS[table]})")
                into = f"COPY {space}.{table} FROM STDIN (DELIMITER '|')"
                with server.cursor() as cursor, cursor.copy(into) as copy, open(text / f"{table}.tbl", "rb") as lines:
                    # The format ends every line with a bar, which COPY would take for one more column.
                    while chunk := lines.read(1 << 20) + lines.readline():
                        copy.write(chunk.replace(b"|\n", b"\n"))
                server.execute(f"ALTER TABLE {space}.{table} ADD PRIMARY KEY ({KEYS[table]})")
        server.execute("ANALYZE")


def fill_mariadb(text: Path, wanted: str) -> None:
    with mariadb(local_infile=True) as server, server.cursor() as cursor:
        cursor.execute("SET GLOBAL local_infile = 1")
        for distribution in DISTRIBUTIONS:
            cursor.execute(f"DROP DATABASE IF EXISTS {schema('mariadb', distribution)}")
        for distribution in wanted:
            space = schema("mariadb", distribution)
            # Bytes compare as bytes, and a trailing space counts: the meaning text has in SQL elsewhere.
            cursor.execute(f"CREATE DATABASE {space} CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin")
            for table in DISTRIBUTIONS[distribution]["mariadb"]:
                cursor.execute(f"CREATE TABLE {space}.{table} ({COLUMNS[table]}, PRIMARY KEY ({KEYS[table]}))")
                path = str(text / f"{table}.tbl")
                cursor.execute(
                    f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE {space}.{table} FIELDS TERMINATED BY '|'"
                    " LINES TERMINATED BY '|\\n'"
                )
                cursor.execute(f"ANALYZE TABLE {space}.{table}")


def fill_cases() -> None:
    """A table of a million rows in PostgreSQL, and one percent of its keys in another schema and in MariaDB."""
    picked = [(key * 100 + 7,) for key in range(10_000)]
    with postgres(DATABASE) as server:
        for space in ("postgres_big", "postgres_small"):
            server.execute(f"CREATE SCHEMA {space}")
        server.execute(
            "CREATE TABLE postgres_big.million AS SELECT n AS id, (n % 10)::int AS kind, (n * 7919 % 100000)::int AS weight,"
            " (n % 9973 / 100.0)::numeric(12, 2) AS amount, timestamp '2024-01-01' + n * interval '1 second' AS seen,"
            " 'vessel ' || n AS name FROM generate_series(0::bigint, 999999) AS n"
        )
        server.execute("ALTER TABLE postgres_big.million ADD PRIMARY KEY (id)")
        server.execute("CREATE TABLE postgres_small.pick (id bigint PRIMARY KEY, flag int NOT NULL)")
        with server.cursor() as cursor, cursor.copy("COPY postgres_small.pick FROM STDIN") as copy:
            for (key,) in picked:
                copy.write_row((key, 1))
        server.execute("ANALYZE")
        # The rival's way: the same server, reached from itself over the network.
        server.execute("CREATE EXTENSION IF NOT EXISTS postgres_fdw")
        at = urlsplit(url("POSTGRES"))
        server.execute(
            f"CREATE SERVER beside FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{at.hostname}', port '{at.port}',"
            f" dbname '{DATABASE}', use_remote_estimate 'true')"
        )
        server.execute(
            f"CREATE USER MAPPING FOR CURRENT_USER SERVER beside OPTIONS (user '{at.username}', password '{at.password}')"
        )
        server.execute("CREATE SCHEMA foreign_big")
        server.execute("IMPORT FOREIGN SCHEMA postgres_big LIMIT TO (million) FROM SERVER beside INTO foreign_big")
    with mariadb() as server, server.cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS mariadb_small")
        cursor.execute("CREATE DATABASE mariadb_small CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin")
        cursor.execute("CREATE TABLE mariadb_small.pick (id bigint PRIMARY KEY, flag int NOT NULL)")
        cursor.executemany("INSERT INTO mariadb_small.pick VALUES (%s, 1)", picked)
        cursor.execute("ANALYZE TABLE mariadb_small.pick")


def fill_delta(folder: Path, wanted: str) -> None:
    shutil.rmtree(folder / "delta", ignore_errors=True)
    for distribution in wanted:
        for table in DISTRIBUTIONS[distribution]["delta"]:
            rows = pyarrow.parquet.read_table(folder / f"parquet/{table}.parquet")
            # Field ids of the generator's would end up in the log but not in the files, and readers that trust them
            # read nulls.
            rows = rows.cast(pyarrow.schema([field.remove_metadata() for field in rows.schema]))
            to = folder / f"delta/{distribution}/gold/{table}"
            deltalake.write_deltalake(str(to), rows, mode="overwrite", schema_mode="overwrite")


__all__ = ["DATABASE", "TABLES", "fill", "generate", "mariadb", "postgres", "url"]
