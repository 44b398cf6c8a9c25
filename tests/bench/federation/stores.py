"""Fills the stores with TPC-H, once per scale: PostgreSQL by COPY, MariaDB by LOAD DATA, Delta from the same Parquet.

It must never load a table that is already whole: the mark is written last.
"""

import os
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


def generate(folder: Path, scale: float) -> None:
    """Parquet for the engines and Delta, bar-separated text for the two servers."""
    generator = Path(sys.executable).with_name("tpchgen-cli")
    for kind, to in (("parquet", folder / "parquet"), ("tbl", folder / "tbl")):
        if not (to / "complete").exists():
            to.mkdir(parents=True, exist_ok=True)
            subprocess.run([generator, kind, "-s", str(scale), "--output-dir", to], check=True, stdout=sys.stderr)
            (to / "complete").touch()


def fill(folder: Path, scale: float) -> None:
    """Loads every store's part of every distribution, unless it is there."""
    mark = folder / "loaded"
    # A server that was made anew has lost what the mark speaks of.
    stamp = f"{url('POSTGRES')} {url('MYSQL')}"
    if mark.exists() and mark.read_text() == stamp and held(scale):
        return
    fill_postgres(folder / "tbl", scale)
    fill_mariadb(folder / "tbl")
    fill_delta(folder)
    mark.write_text(stamp)


def held(scale: float) -> bool:
    try:
        with postgres(DATABASE) as server:
            return server.execute("SELECT scale FROM bench").fetchone() == (scale,)
    except psycopg.Error:
        return False


def fill_postgres(text: Path, scale: float) -> None:
    with postgres("postgres") as server:
        server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        server.execute(f"CREATE DATABASE {DATABASE}")
    with postgres(DATABASE) as server:
        for distribution, placed in DISTRIBUTIONS.items():
            space = schema("postgres", distribution)
            server.execute(f"CREATE SCHEMA {space}")
            for table in placed["postgres"]:
                server.execute(f"CREATE TABLE {space}.{table} ({COLUMNS[table]})")
                into = f"COPY {space}.{table} FROM STDIN (DELIMITER '|')"
                with server.cursor() as cursor, cursor.copy(into) as copy, open(text / f"{table}.tbl", "rb") as lines:
                    # The format ends every line with a bar, which COPY would take for one more column.
                    while chunk := lines.readlines(1 << 20):
                        copy.write(b"".join(line[:-2] + b"\n" for line in chunk))
                server.execute(f"ALTER TABLE {space}.{table} ADD PRIMARY KEY ({KEYS[table]})")
        server.execute("ANALYZE")
        server.execute("CREATE TABLE bench AS SELECT %s::float8 AS scale", [scale])


def fill_mariadb(text: Path) -> None:
    with mariadb(local_infile=True) as server, server.cursor() as cursor:
        cursor.execute("SET GLOBAL local_infile = 1")
        for distribution, placed in DISTRIBUTIONS.items():
            space = schema("mariadb", distribution)
            cursor.execute(f"DROP DATABASE IF EXISTS {space}")
            # Bytes compare as bytes, and a trailing space counts: the meaning text has in SQL elsewhere.
            cursor.execute(f"CREATE DATABASE {space} CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin")
            for table in placed["mariadb"]:
                cursor.execute(f"CREATE TABLE {space}.{table} ({COLUMNS[table]}, PRIMARY KEY ({KEYS[table]}))")
                path = str(text / f"{table}.tbl")
                cursor.execute(
                    f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE {space}.{table} FIELDS TERMINATED BY '|'"
                    " LINES TERMINATED BY '|\\n'"
                )
                cursor.execute(f"ANALYZE TABLE {space}.{table}")


def fill_delta(folder: Path) -> None:
    for distribution, placed in DISTRIBUTIONS.items():
        for table in placed["delta"]:
            rows = pyarrow.parquet.read_table(folder / f"parquet/{table}.parquet")
            # Field ids of the generator's would end up in the log but not in the files, and readers that trust them
            # read nulls.
            rows = rows.cast(pyarrow.schema([field.remove_metadata() for field in rows.schema]))
            to = folder / f"delta/{distribution}/gold/{table}"
            deltalake.write_deltalake(str(to), rows, mode="overwrite", schema_mode="overwrite")


__all__ = ["DATABASE", "TABLES", "fill", "generate", "mariadb", "postgres", "url"]
