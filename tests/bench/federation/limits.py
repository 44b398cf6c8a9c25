"""What the gateway is held against, measured in the same run on the same data.

compute: the same Parquet in bare DataFusion, no store between. wire: every statement that the gateway sent to
PostgreSQL, drained with COPY in binary by a client that does nothing else. duckdb: the same split through its own
extensions, where it has them.
"""

from pathlib import Path

import datafusion
import duckdb
from duckdb_extensions import import_extension

from gateway import Leaf
from placement import DISTRIBUTIONS, TABLES, schema
from stores import DATABASE, postgres, url
from urllib.parse import unquote, urlsplit


class Compute:
    """Bare DataFusion over local Parquet; also the engine that every result is checked against."""

    def __init__(self, folder: Path) -> None:
        self.context = datafusion.SessionContext()
        for table in TABLES:
            self.context.register_parquet(table, str(folder / f"parquet/{table}.parquet"))

    def rows(self, sql: str) -> list[tuple]:
        return [tuple(row.values()) for row in self.context.sql(sql).to_arrow_table().to_pylist()]


class Duckdb:
    """DuckDB over the same three stores."""

    def __init__(self, folder: Path) -> None:
        self.connection = duckdb.connect()
        for extension in ("postgres_scanner", "mysql_scanner", "delta"):
            import_extension(extension)
            self.connection.execute(f"LOAD {extension}")
        pg, my = urlsplit(url("POSTGRES")), urlsplit(url("MYSQL"))
        self.connection.execute(
            f"ATTACH 'host={pg.hostname} port={pg.port} dbname={DATABASE} user={pg.username}"
            f" password={unquote(pg.password or '')}' AS pg (TYPE postgres, READ_ONLY)"
        )
        self.connection.execute(
            f"ATTACH 'host={my.hostname} port={my.port} user={my.username} password={unquote(my.password or '')}'"
            " AS my (TYPE mysql, READ_ONLY)"
        )
        for distribution, placed in DISTRIBUTIONS.items():
            self.connection.execute(f"CREATE SCHEMA {distribution}")
            for store, tables in placed.items():
                for table in tables:
                    space = schema(store, distribution)
                    source = {
                        "postgres": f"pg.{space}.{table}",
                        "mariadb": f"my.{space}.{table}",
                        "delta": f"delta_scan('{folder}/delta/{distribution}/gold/{table}')",
                    }[store]
                    self.connection.execute(f"CREATE VIEW {distribution}.{table} AS SELECT * FROM {source}")

    def place(self, distribution: str) -> None:
        self.connection.execute(f"SET search_path = '{distribution}'")

    def rows(self, sql: str) -> list[tuple]:
        return self.connection.execute(sql).fetchall()


class Wire:
    """Drains what was sent to PostgreSQL, one statement after another."""

    def __init__(self) -> None:
        self.connection = postgres(DATABASE)

    def drain(self, leaves: list[Leaf]) -> None:
        for leaf in leaves:
            if leaf.store == "postgres":
                with self.connection.cursor() as cursor, cursor.copy(f"COPY ({leaf.sent}) TO STDOUT (FORMAT binary)") as copy:
                    for _ in copy:
                        pass


