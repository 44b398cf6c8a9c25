"""Asks statements through a Python client of Flight SQL: a line of JSON in, a line of JSON out.

Started once by the corpus test, for all its sessions. It only carries: what is expected is known to the corpus alone.
Values become PostgreSQL's texts here, by rules of their own, so that what a client's Arrow holds is what is compared.

    {"session": "a", "client": "adbc", "sql": "SELECT 1"}   opens the session at its first statement
    {"session": "a"}                                        closes it
"""

import argparse
import json
import re
import struct
import sys
import uuid
from decimal import Decimal

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi
import adbc_driver_manager
import pyarrow
import pyarrow.flight

USER = PASSWORD = "demo"
TYPE_NAME = b"ARROW:FLIGHT:SQL:TYPE_NAME"
DAY = 86_400_000_000


class Refused(Exception):
    """A statement the server refused: SQLSTATE, text, hint and position."""

    def __init__(self, text, trailer=None):
        super().__init__(text)
        said = re.search(r"\(SQLSTATE ([0-9A-Z]{5})\)", text)
        if not said:
            raise ValueError(f"an error without SQLSTATE: {text}")
        if trailer not in (None, said[1]):
            raise ValueError(f"the trailer says {trailer}: {text}")
        line = {name: re.search(rf"^{name}: (.*?)(?:\. gRPC client debug context.*)?$", text, re.MULTILINE)
                for name in ("hint", "position")}
        self.parts = {"sqlstate": said[1], "message": text}
        self.parts |= {name: found[1] if found else "" for name, found in line.items()}


def flight_command(sql):
    """A CommandStatementQuery in its Any, byte by byte: pyarrow has no Flight SQL of its own."""
    def field(number, data):
        length, size = len(data), b""
        while length > 127:
            size += bytes([length & 127 | 128])
            length >>= 7
        return bytes([number << 3 | 2]) + size + bytes([length]) + data
    url = b"type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery"
    return field(1, url) + field(2, field(1, sql.encode()))


class Pyarrow:
    """Flight SQL by hand: a login of its own, statements as they are."""

    def __init__(self, address):
        self.client = pyarrow.flight.connect(f"grpc://{address}")
        token = self.client.authenticate_basic_token(USER, PASSWORD)
        self.options = pyarrow.flight.FlightCallOptions(headers=[token])

    def ask(self, sql):
        descriptor = pyarrow.flight.FlightDescriptor.for_command(flight_command(sql))
        try:
            info = self.client.get_flight_info(descriptor, self.options)
            parts = [self.client.do_get(endpoint.ticket, self.options).read_all() for endpoint in info.endpoints]
        except pyarrow.ArrowException as raised:
            raise Refused(str(raised)) from raised
        for part in parts:
            if not part.schema.equals(info.schema, check_metadata=True):
                raise ValueError(f"announced {info.schema}; got {part.schema}")
        return pyarrow.concat_tables(parts) if parts else info.schema.empty_table()

    def close(self):
        self.client.close()


class Adbc:
    """The ADBC driver, which prepares each statement."""

    def __init__(self, address):
        options = {"username": USER, "password": PASSWORD}
        self.connection = adbc_driver_flightsql.dbapi.connect(f"grpc://{address}", db_kwargs=options, autocommit=True)

    def ask(self, sql):
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetch_arrow_table()
        except adbc_driver_manager.Error as raised:
            trailers = {name: value.decode() for name, value in raised.details}
            raise Refused(str(raised), trailers.get("portolan-sqlstate")) from raised

    def close(self):
        self.connection.close()


CLIENTS = {"pyarrow": Pyarrow, "adbc": Adbc}


def day_text(days):
    """A day since 1970, of any year."""
    # Years from March, in eras of 400 years, which all have the same days.
    era, day = divmod(days + 719_468, 146_097)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    month, year = (month + 3, year) if month < 10 else (month - 9, year + 1)
    year += era * 400
    return f"{year:04}-{month:02}-{day + 1:02}" if year > 0 else f"{1 - year:04}-{month:02}-{day + 1:02} BC"


def clock_text(micros):
    seconds, fraction = divmod(micros, 1_000_000)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return text + f".{fraction:06}".rstrip("0") if fraction else text


def instant_text(micros, zone):
    if micros in (2**63 - 1, -(2**63)):
        return "infinity" if micros > 0 else "-infinity"
    days, clock = divmod(micros, DAY)
    day, *era = day_text(days).split(" ")
    return " ".join([day, clock_text(clock) + zone, *era])


def interval_text(months, days, micros):
    parts, negative = [], False
    years = abs(months) // 12 * (1 if months >= 0 else -1)
    for value, unit in ((years, "year"), (months - 12 * years, "mon"), (days, "day")):
        if value:
            parts.append(f"{'+' if negative and value > 0 else ''}{value} {unit}{'' if value == 1 else 's'}")
            negative = value < 0
    if micros or not parts:
        sign = "-" if micros < 0 else "+" if negative else ""
        parts.append(sign + clock_text(abs(micros)))
    return " ".join(parts)


def float_text(value, shortest, limit):
    """`limit` is the first exponent that is written with an e."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    number = Decimal(shortest)
    sign, digits, _ = number.as_tuple()
    digits = "".join(map(str, digits)).rstrip("0") or "0"
    sign, exponent = "-" if sign else "", number.adjusted() if number else 0
    if exponent < -4 or exponent >= limit:
        point = "." if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{point}{digits[1:]}e{exponent:+03}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    whole, rest = digits[:exponent + 1].ljust(exponent + 1, "0"), digits[exponent + 1:]
    return f"{sign}{whole}.{rest}" if rest else sign + whole


def float4_text(value):
    def survives(text):
        try:
            return struct.unpack("f", struct.pack("f", float(text)))[0] == value
        except OverflowError:
            return False
    shortest = next((text for text in (f"{value:.{digits}e}" for digits in range(9)) if survives(text)), repr(value))
    return float_text(value, shortest, 6)


def quoted(text):
    if text == "" or text.lower() == "null" or re.search(r'[{},"\\ \t\n\r\v\f]', text):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text


def list_text(values):
    nested = pyarrow.types.is_list(values.type)
    return "{" + ",".join("NULL" if text is None else text if nested else quoted(text) for text in texts(values)) + "}"


def texts(array):
    """PostgreSQL's text of each value of an array; a type without a rule is an error, never a guess."""
    kind, types = array.type, pyarrow.types
    of = None
    if types.is_boolean(kind):
        of = {True: "t", False: "f"}.get
    elif types.is_integer(kind):
        of = str
    elif types.is_float32(kind):
        of = float4_text
    elif types.is_float64(kind):
        def of(value):
            return float_text(value, repr(value), 15)
    elif types.is_decimal(kind):
        def of(value):
            return f"{value:f}"
    elif types.is_string(kind) or types.is_large_string(kind):
        of = str
    elif kind == pyarrow.binary(16):
        def of(value):
            return str(uuid.UUID(bytes=value))
    elif types.is_binary(kind):
        def of(value):
            return "\\x" + value.hex()
    elif types.is_interval(kind):
        def of(value):
            return interval_text(value.months, value.days, value.nanoseconds // 1000)
    elif types.is_date32(kind):
        array, of = array.view(pyarrow.int32()), day_text
    elif kind == pyarrow.time64("us"):
        array, of = array.view(pyarrow.int64()), clock_text
    elif types.is_timestamp(kind) and kind.unit == "us":
        zone = "+00" if kind.tz else ""
        array = array.view(pyarrow.int64())

        def of(value):
            return instant_text(value, zone)
    elif kind == pyarrow.duration("us"):
        array = array.view(pyarrow.int64())

        def of(value):
            days = abs(value) // DAY * (1 if value >= 0 else -1)
            return interval_text(0, days, value - days * DAY)
    elif types.is_list(kind):
        return [list_text(item.values) if item.is_valid else None for item in array]
    else:
        raise ValueError(f"no rule for the Arrow type {kind}")
    return [None if value is None else of(value) for value in array.to_pylist()]


def answer(table):
    columns = [[text for chunk in column.chunks for text in texts(chunk)] for column in table.columns]
    return {"types": [field.metadata[TYPE_NAME].decode() for field in table.schema],
            "rows": list(zip(*columns)) if columns else []}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flight", required=True, help="host:port of Flight SQL")
    address = parser.parse_args().flight
    sessions = {}
    for line in sys.stdin:
        asked = json.loads(line)
        name = asked["session"]
        try:
            if "sql" not in asked:
                if name in sessions:
                    sessions.pop(name).close()
                said = {}
            else:
                if name not in sessions:
                    sessions[name] = CLIENTS[asked["client"]](address)
                said = answer(sessions[name].ask(asked["sql"]))
        except Refused as refused:
            said = {"refused": refused.parts}
        except Exception as broken:  # Whatever it is, the corpus must be told, or it would wait.
            said = {"broken": f"{type(broken).__name__}: {broken}"}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
