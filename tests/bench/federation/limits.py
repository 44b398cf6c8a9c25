"""What the gateway is held against, measured in the same run on the same data, beside the wire.

compute: the same Parquet in bare DataFusion, no store between. native: the whole query inside the one store that has
all its tables. duckdb: the same split through its own extensions, where it has them.
"""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import datafusion
import duckdb
from duckdb_extensions import import_extension

from placement import DISTRIBUTIONS, TABLES, schema
from stores import DATABASE, mariadb, postgres, url


class Compute:
    """Bare DataFusion over local Parquet; also the engine that every result is checked against."""

    def __init__(self, folder: Path) -> None:
        self.context = datafusion.SessionContext()
        for table in TABLES:
            self.context.register_parquet(table, str(folder / f"parquet/{table}.parquet"))

    def rows(self, sql: str) -> list[tuple]:
        return [tuple(row.values()) for row in self.context.sql(sql).to_arrow_table().to_pylist()]


class Native:
    """A server that holds every table of a query, asked without a gateway."""

    def __init__(self) -> None:
        self.postgres, self.mariadb = postgres(DATABASE), mariadb()

    def store(self, sql: str, distribution: str) -> str | None:
        used = {table for table in TABLES if re.search(rf"\b{table}\b", sql)}
        for store, placed in DISTRIBUTIONS[distribution].items():
            if store != "delta" and used <= set(placed):
                return store
        return None

    def rows(self, sql: str, store: str, distribution: str) -> list[tuple]:
        space = schema(store, distribution)
        if store == "postgres":
            self.postgres.execute(f"SET search_path = {space}")
            return self.postgres.execute(sql).fetchall()
        with self.mariadb.cursor() as cursor:
            cursor.execute(f"USE {space}")
            cursor.execute(sql)
            return list(cursor.fetchall())


class Duckdb:
    """DuckDB over the same three stores."""

    def __init__(self, folder: Path, loaded: str) -> None:
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
        for distribution in loaded:
            self.connection.execute(f"CREATE SCHEMA {distribution}")
            for store, tables in DISTRIBUTIONS[distribution].items():
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
