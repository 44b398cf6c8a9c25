"""Asks one demo through the clients people use, and fails when any two of them see different rows.

Started by the corpus test, which hands over the addresses. Every difference is printed to standard error; the exit
code is 1 if there was one. No check is skipped because a client or a schema is missing.
"""

import argparse
import asyncio
import datetime as dt
import decimal
import json
import sys
import uuid

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi
import asyncpg
import psycopg
import pyarrow
import pyarrow.flight
import sqlalchemy
from psycopg import errors

from door import PASSWORD, USER, flight_command

DATABASE = "portolan"

# Each is asked by every client and must give the same rows in the same order.
QUERIES = [
    "SELECT 1 AS a, 2.50 AS b, 'text' AS c, true AS d, NULL AS e",
    "SELECT 9223372036854775807 AS a, 1.5::float8 AS b, 0.5::float4 AS c, 12345678901234567890.123::numeric AS d",
    "SELECT date '2024-02-29' AS a, timestamp '2024-02-29 13:04:05.678' AS b,"
    " timestamptz '2024-02-29 13:04:05+02' AS c, time '01:02:03' AS d",
    "SELECT interval '1 day 02:03:04' AS a, timestamp '2024-01-02' - timestamp '2024-01-01' AS b",
    "SELECT 'caf\u00e9' AS a, '' AS b, 'it''s' AS c",
    "SELECT '\\x00ff'::bytea AS a",
    "SELECT terminal_id, code, name, operator, zone, smdg_code, unlocode FROM tos.terminals ORDER BY terminal_id",
    "SELECT vessel_id, imo_no, mmsi, vessel_name, flag, gt, loa_m, updated_at FROM tos.vessels"
    " ORDER BY vessel_id LIMIT 200",
    "SELECT port_call_id, vessel_id, eta, ata, atd, status, draught_arr, deleted FROM tos.port_calls"
    " ORDER BY port_call_id",
    "SELECT op_id, cargo_code, direction, trade, tonnes, teu, boxes, start_time, end_time FROM tos.cargo_operations"
    " ORDER BY op_id LIMIT 500",
    "SELECT cargo_code, weather_sensitive, hazardous FROM tos.ref_cargo ORDER BY cargo_code",
    "SELECT station, time, wind_speed_ms, wind_gust_ms, wind_direction_deg FROM weather.hourly ORDER BY time",
    "SELECT mmsi, ts, lat, lon, sog, nav_status FROM events.ais_positions ORDER BY mmsi, ts, lat, lon LIMIT 300",
    "SELECT call, count(*) AS documents FROM events.port_call_events GROUP BY call ORDER BY call NULLS LAST",
    "SELECT t.code, count(*) AS visits, sum(o.tonnes) AS tonnes, avg(o.teu) AS teu FROM tos.cargo_operations o"
    " JOIN tos.berth_visits v ON v.visit_id = o.visit_id JOIN tos.berths b ON b.berth_id = v.berth_id"
    " JOIN tos.terminals t ON t.terminal_id = b.terminal_id GROUP BY 1 ORDER BY 1",
    "SELECT date_trunc('day', ata) AS day, count(*) AS calls FROM tos.port_calls WHERE ata IS NOT NULL"
    " GROUP BY 1 ORDER BY 1",
    "SELECT direction, trade, sum(tonnes) AS tonnes FROM tos.cargo_operations GROUP BY ROLLUP (direction, trade)"
    " ORDER BY 1, 2",
    "SELECT vessel_id FROM tos.vessels WHERE vessel_id < 0",
    "SELECT op_key, port_call_id, is_call_row, tonnes, teu, boxes, waiting_h, ata_pbp_ts, call_month"
    " FROM warehouse.fact_cargo_operation ORDER BY op_key LIMIT 300",
    "SELECT op_key, tonnes, waiting_h, ata_pbp_ts FROM gold.fact_cargo_operation ORDER BY op_key LIMIT 300",
    "SELECT terminal, MEASURE(calls) AS calls, MEASURE(cargo_tonnes) AS tonnes, MEASURE(waiting_p90_h) AS p90,"
    " MEASURE(weather_share) AS share FROM kpi.port_calls GROUP BY terminal ORDER BY terminal NULLS LAST",
    "SELECT date_trunc('day', time) AS day, MEASURE(teu) AS teu FROM kpi.port_calls GROUP BY 1 ORDER BY 1 NULLS LAST",
    "SELECT * FROM kpi_flat.port_calls__day ORDER BY day NULLS LAST, terminal NULLS LAST",
]

# Statement, values, expected rows.
PARAMETERS = [
    ("SELECT $1::int + 1", [41], [(42,)]),
    ("SELECT $1::text || $2::text", ["a", "b"], [("ab",)]),
    ("SELECT $1::int8, $2::float8, $3::bool", [2**40, 0.25, True], [(2**40, 0.25, True)]),
    ("SELECT $1::numeric * 2", [decimal.Decimal("1.25")], [(decimal.Decimal("2.50"),)]),
    ("SELECT $1::date, $2::timestamp", [dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, 1, 2, 3)],
     [(dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, 1, 2, 3))]),
    ("SELECT $1::int IS NULL, $2::text IS NULL", [None, None], [(True, True)]),
    ("SELECT code FROM tos.terminals WHERE code = $1", ["TAC"], [("TAC",)]),
    ("SELECT code FROM tos.terminals WHERE terminal_id > $1 AND code < $2 ORDER BY code LIMIT 1", [0, "Z"], [("M1",)]),
    ("SELECT count(*) FROM tos.vessels WHERE vessel_name = $1", ["' OR 1=1 --"], [(0,)]),
]

# Statement and the error class psycopg must raise.
ERRORS = [
    ("SELECT 1 +", errors.SyntaxError),
    ("SELECT * FROM nowhere", errors.UndefinedTable),
    ("SELECT vessel_nam FROM tos.vessels", errors.UndefinedColumn),
    ("SELECT no_such_function(1)", errors.UndefinedFunction),
    ("SELECT 1 / 0", errors.DivisionByZero),
    ("SELECT 'x'::int", errors.InvalidTextRepresentation),
    ("DELETE FROM tos.vessels", errors.ReadOnlySqlTransaction),
]

# What the inspector must tell of a table or view: columns with types, primary key, foreign keys.
TABLES = {
    ("tos", "terminals"): (
        ["terminal_id INTEGER", "code VARCHAR(8)", "name VARCHAR(60)", "operator VARCHAR(60)", "zone VARCHAR(12)",
         "smdg_code VARCHAR(6)", "unlocode CHAR(5)"],
        ["terminal_id"],
        [],
    ),
    ("tos", "berths"): (
        ["berth_id INTEGER", "terminal_id INTEGER", "berth_no VARCHAR(8)", "mole VARCHAR(8)", "length_m NUMERIC(6, 1)",
         "depth_m NUMERIC(4, 1)", "status VARCHAR(8)", "valid_from DATE", "valid_to DATE"],
        ["berth_id", "valid_from"],
        [("terminal_id", "tos.terminals.terminal_id")],
    ),
    ("tos", "ref_cargo"): (
        ["cargo_code VARCHAR(8)", "commodity VARCHAR(40)", "cargo_class VARCHAR(12)", "packaging VARCHAR(12)",
         "iso_type VARCHAR(4)", "weather_sensitive BOOLEAN", "hazardous BOOLEAN"],
        ["cargo_code"],
        [],
    ),
    ("warehouse", "dim_cargo"): (
        ["cargo_key BIGINT", "cargo_code TEXT", "commodity TEXT", "cargo_class TEXT", "packaging TEXT",
         "direction TEXT", "trade TEXT", "iso_type TEXT", "weather_sensitive BOOLEAN", "hazardous BOOLEAN"],
        ["cargo_key"],
        [],
    ),
}

# Columns a view of KPIs must have, with their types.
KPI_COLUMNS = {
    ("kpi_flat", "port_calls__day"): ["day DATE", "terminal TEXT", "calls BIGINT", "cargo_tonnes NUMERIC(38, 3)",
                                      "teu NUMERIC(38, 2)", "weather_share DOUBLE PRECISION"],
    ("kpi", "port_calls"): ["time TIMESTAMP", "terminal TEXT", "calls BIGINT", "waiting_h NUMERIC(38, 6)"],
}

differences = []


def differ(what, *details):
    differences.append(what)
    print(f"differs: {what}", file=sys.stderr)
    for detail in details:
        print(f"    {str(detail)[:2000]}", file=sys.stderr)


def equal(what, got, expected):
    if got != expected:
        differ(what, f"got      {got}", f"expected {expected}")


def plain(value):
    """A value in the one form all clients' values are compared in."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, (int, decimal.Decimal)):
        return decimal.Decimal(value).normalize() + 0
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value.astimezone(dt.timezone.utc)
    if isinstance(value, (memoryview, bytearray)):
        return bytes(value)
    if isinstance(value, (dict, list)):
        return json.dumps(value, sort_keys=True)
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, pyarrow.MonthDayNano):
        return dt.timedelta(days=30 * value.months + value.days, microseconds=value.nanoseconds // 1000)
    return value


def rows_of(rows):
    return [tuple(plain(value) for value in row) for row in rows]


def compare(sql, seen):
    """Compares every client's rows with the first client's."""
    (first, expected), *others = seen.items()
    for name, rows in others:
        if rows != expected:
            at = next((i for i, (a, b) in enumerate(zip(rows, expected)) if a != b), min(len(rows), len(expected)))
            differ(f"{name} from {first}: {sql}", f"{len(rows)} and {len(expected)} rows, first at {at}",
                   rows[at:at + 1], expected[at:at + 1])


def ask_psycopg(dsn, seen):
    with psycopg.connect(dsn, autocommit=True) as connection:
        for binary in (False, True):
            name = "psycopg binary" if binary else "psycopg text"
            with connection.cursor(binary=binary) as cursor:
                for sql in QUERIES:
                    seen[sql][name] = rows_of(cursor.execute(sql).fetchall())
        for sql in QUERIES:
            with connection.transaction(), connection.cursor(name="walk") as cursor:
                cursor.itersize = 50
                seen[sql]["psycopg server cursor"] = rows_of(cursor.execute(sql))
        for sql, values, expected in PARAMETERS:
            for number in range(1, len(values) + 1):
                sql = sql.replace(f"${number}", "%s")
            for prepare in (False, True):
                got = connection.execute(sql, values, prepare=prepare).fetchall()
                equal(f"psycopg with parameters, prepare={prepare}: {sql}", rows_of(got), rows_of(expected))
        for sql, error in ERRORS:
            try:
                connection.execute(sql)
                differ(f"psycopg: accepted: {sql}")
            except errors.Error as raised:
                if type(raised) is not error:
                    differ(f"psycopg: {sql}", f"raised {type(raised).__name__}: {raised}")
        with connection.pipeline():
            cursors = [connection.execute("SELECT %s::int", [number]) for number in range(100)]
        equal("psycopg pipeline", [cursor.fetchone()[0] for cursor in cursors], list(range(100)))
        with connection.cursor() as cursor, cursor.copy("COPY (SELECT 1, 'a') TO STDOUT") as copy:
            equal("psycopg copy", [bytes(row) for row in copy], [b"1\ta\n"])
    try:
        psycopg.connect(dsn.replace("password=demo", "password=wrong")).close()
        differ("psycopg: a wrong password was taken")
    except psycopg.OperationalError as raised:
        if "password authentication failed" not in str(raised):
            differ("psycopg: a wrong password", raised)


async def ask_asyncpg(address, seen):
    host, port = address.rsplit(":", 1)
    connection = await asyncpg.connect(host=host, port=int(port), user=USER, password=PASSWORD, database=DATABASE)
    try:
        for sql in QUERIES:
            seen[sql]["asyncpg"] = rows_of(await connection.fetch(sql))
            statement = await connection.prepare(sql)
            seen[sql]["asyncpg prepared"] = rows_of(await statement.fetch())
            async with connection.transaction():
                seen[sql]["asyncpg cursor"] = rows_of([row async for row in connection.cursor(sql, prefetch=50)])
        for sql, values, expected in PARAMETERS:
            for _ in range(2):
                equal(f"asyncpg with parameters: {sql}", rows_of(await connection.fetch(sql, *values)), rows_of(expected))
        got = await connection.fetch("SELECT code FROM tos.terminals WHERE code = ANY($1::text[]) ORDER BY 1", ["TAC", "M2"])
        equal("asyncpg with an array", [row["code"] for row in got], ["M2", "TAC"])
        got = await connection.fetch("SELECT $1::int AS n, code FROM tos.terminals WHERE code = $2::text", 7, "TAC")
        equal("asyncpg with casts", [tuple(row) for row in got], [(7, "TAC")])
        try:
            await connection.fetch("SELECT * FROM nowhere")
            differ("asyncpg: accepted an unknown table")
        except asyncpg.UndefinedTableError:
            pass
        await connection.reset()
        equal("asyncpg after reset", await connection.fetchval("SELECT 1"), 1)
    finally:
        await connection.close()
    async with asyncpg.create_pool(host=host, port=int(port), user=USER, password=PASSWORD, database=DATABASE,
                                   min_size=1, max_size=4) as pool:
        got = await asyncio.gather(*(pool.fetchval("SELECT $1::int", number) for number in range(40)))
        equal("asyncpg pool", got, list(range(40)))


def rows_of_table(table):
    return rows_of(zip(*(column.to_pylist() for column in table.columns))) if table.num_rows else []


def ask_pyarrow(address, seen):
    client = pyarrow.flight.connect(f"grpc://{address}")
    options = pyarrow.flight.FlightCallOptions(headers=[client.authenticate_basic_token(USER, PASSWORD)])
    for sql in QUERIES:
        info = client.get_flight_info(pyarrow.flight.FlightDescriptor.for_command(flight_command(sql)), options)
        tables = [client.do_get(endpoint.ticket, options).read_all() for endpoint in info.endpoints]
        if len(tables) != 1 or not tables[0].schema.equals(info.schema):
            differ(f"pyarrow: {sql}", f"{len(tables)} endpoints; announced {info.schema}; got {tables[0].schema}")
        seen[sql]["pyarrow.flight"] = rows_of_table(tables[0])
    try:
        client.get_flight_info(pyarrow.flight.FlightDescriptor.for_command(flight_command("SELECT * FROM nowhere")), options)
        differ("pyarrow: accepted an unknown table")
    except pyarrow.ArrowException as raised:
        if "42P01" not in str(raised):
            differ("pyarrow: an unknown table", raised)
    try:
        client.authenticate_basic_token(USER, "wrong")
        differ("pyarrow: a wrong password was taken")
    except pyarrow.flight.FlightUnauthenticatedError:
        pass
    client.close()


def ask_adbc(address, seen):
    options = {"username": USER, "password": PASSWORD}
    with adbc_driver_flightsql.dbapi.connect(f"grpc://{address}", db_kwargs=options, autocommit=True) as connection:
        with connection.cursor() as cursor:
            for sql in QUERIES:
                cursor.execute(sql)
                seen[sql]["adbc"] = rows_of_table(cursor.fetch_arrow_table())
        tables = connection.adbc_get_objects(depth="tables", db_schema_filter="tos").read_all().to_pylist()
        names = {table["table_name"] for catalog in tables for schema in catalog["catalog_db_schemas"]
                 for table in schema["db_schema_tables"]}
        equal("adbc: tables of tos", {"terminals", "vessels", "port_calls"} <= names, True)
        schema = connection.adbc_get_table_schema("terminals", db_schema_filter="tos")
        equal("adbc: columns of tos.terminals", schema.names,
              ["terminal_id", "code", "name", "operator", "zone", "smdg_code", "unlocode"])


def inspect_with_sqlalchemy(address):
    engine = sqlalchemy.create_engine(f"postgresql+psycopg://{USER}:{PASSWORD}@{address}/{DATABASE}")
    inspector = sqlalchemy.inspect(engine)
    for schema in ("tos", "events", "weather", "bronze", "silver", "gold", "warehouse", "kpi", "kpi_flat", "system"):
        if schema not in inspector.get_schema_names():
            differ(f"sqlalchemy: schema {schema} is not shown")
        if not inspector.get_table_names(schema=schema) + inspector.get_view_names(schema=schema):
            differ(f"sqlalchemy: schema {schema} is empty")
    for (schema, table), (columns, key, references) in TABLES.items():
        got = [f"{column['name']} {column['type']}" for column in inspector.get_columns(table, schema=schema)]
        equal(f"sqlalchemy: columns of {schema}.{table}", got, columns)
        equal(f"sqlalchemy: key of {schema}.{table}",
              inspector.get_pk_constraint(table, schema=schema)["constrained_columns"], key)
        got = [
            (",".join(found["constrained_columns"]),
             f"{found['referred_schema']}.{found['referred_table']}.{','.join(found['referred_columns'])}")
            for found in inspector.get_foreign_keys(table, schema=schema)
        ]
        equal(f"sqlalchemy: references of {schema}.{table}", got, references)
        if not inspector.get_table_comment(table, schema=schema)["text"]:
            differ(f"sqlalchemy: {schema}.{table} has no comment")
    references = inspector.get_foreign_keys("fact_cargo_operation", schema="warehouse")
    got = sorted({found["referred_table"] for found in references})
    equal("sqlalchemy: dimensions of the fact", got, ["dim_cargo", "dim_date", "dim_terminal", "dim_vessel"])
    for (schema, view), columns in KPI_COLUMNS.items():
        found = inspector.get_columns(view, schema=schema)
        got = [f"{column['name']} {column['type']}" for column in found]
        equal(f"sqlalchemy: columns of {schema}.{view}", [column for column in columns if column not in got], [])
        equal(f"sqlalchemy: {schema}.{view} is a view", view in inspector.get_view_names(schema=schema), True)
        if not inspector.get_table_comment(view, schema=schema)["text"]:
            differ(f"sqlalchemy: {schema}.{view} has no comment")
    # Every table of every schema is read without an error, and every column has a type SQLAlchemy knows.
    for schema in inspector.get_schema_names():
        if schema in ("information_schema", "pg_catalog"):
            continue
        for table in inspector.get_table_names(schema=schema) + inspector.get_view_names(schema=schema):
            inspector.get_pk_constraint(table, schema=schema)
            inspector.get_foreign_keys(table, schema=schema)
            inspector.get_indexes(table, schema=schema)
            for column in inspector.get_columns(table, schema=schema):
                if isinstance(column["type"], sqlalchemy.types.NullType):
                    differ(f"sqlalchemy: {schema}.{table}.{column['name']} has no type")
    terminals = sqlalchemy.Table("terminals", sqlalchemy.MetaData(), schema="tos", autoload_with=engine)
    with engine.connect() as connection:
        query = sqlalchemy.select(terminals.c.code).where(terminals.c.code.in_(["TAC", "M2"])).order_by(terminals.c.code)
        equal("sqlalchemy: a query on a reflected table", [row.code for row in connection.execute(query)], ["M2", "TAC"])
    engine.dispose()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pg", required=True, help="host:port of the PostgreSQL protocol")
    parser.add_argument("--flight", required=True, help="host:port of Flight SQL")
    arguments = parser.parse_args()
    host, port = arguments.pg.rsplit(":", 1)
    dsn = f"host={host} port={port} user={USER} password={PASSWORD} dbname={DATABASE}"
    seen = {sql: {} for sql in QUERIES}
    ask_psycopg(dsn, seen)
    asyncio.run(ask_asyncpg(arguments.pg, seen))
    ask_pyarrow(arguments.flight, seen)
    ask_adbc(arguments.flight, seen)
    for sql, clients in seen.items():
        compare(sql, clients)
    inspect_with_sqlalchemy(arguments.pg)
    print(f"{len(QUERIES)} statements, {len(next(iter(seen.values())))} ways, {len(differences)} differences")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
