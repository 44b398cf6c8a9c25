"""One client of one source, a process of its own: asks for a row at a steady pace until its input ends.

Then it prints what it saw, one JSON array a statement: when it began, how long it took (seconds; the clock is the
machine's, the same in every process), and what was wrong. It imports little, so that many of them cost little.
"""

import json
import select
import sys
import time

import psycopg


def main(host: str, port: str, source: str, rows: str, pace: str, seed: str) -> None:
    every, key, count = float(pace), int(seed), int(rows)
    connection = psycopg.connect(
        host=host, port=int(port), dbname="portolan", user="bench", password="bench", autocommit=True
    )
    print("ready", flush=True)
    asked, due = [], time.monotonic() + key % 7 * every / 7
    # The pause is a look at the input as well.
    while not select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
        key = (key * 31 + 17) % count
        began = time.monotonic()
        try:
            found = connection.execute(f"SELECT v FROM {source}.probe WHERE id = {key}").fetchall()
            trouble = "" if found == [(key * 7,)] else f"wrong: {found} for {key}"
        except psycopg.Error as error:
            trouble = error.sqlstate or type(error).__name__
        asked.append((began, time.monotonic() - began, trouble))
        # One that was late does not make the next one later.
        due = max(due + every, time.monotonic())
    json.dump(asked, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
