"""One client of one source, a process of its own: asks for a row at a steady pace until its input ends.

Statements are due at fixed times, whatever became of the one before (an open loop): how long one took is counted from
when it was due, so that a stall costs every statement that fell into it. What is due since long when the one before ends
is not asked for any more, and counted as having waited until then; a source that comes back is not met by a flood.

At the end it prints what it saw, one JSON array a statement: when it was due, how long it took (seconds; the clock is the
machine's, the same in every process), and what was wrong. It imports little, so that many of them cost little, and
collects no garbage, which would take as long as an answer does.
"""

import gc
import json
import select
import sys
import time

import psycopg

# Seconds after which a statement that is due is not asked any more, and what is said of it.
LATE, MISSED = 1.0, "missed"


def main(host: str, port: str, source: str, rows: str, pace: str, seed: str) -> None:
    every, key, count = float(pace), int(seed), int(rows)
    connection = psycopg.connect(
        host=host, port=int(port), dbname="portolan", user="bench", password="bench", autocommit=True
    )
    gc.disable()
    print("ready", flush=True)
    asked, due = [], time.monotonic() + key % 7 * every / 7
    # The pause is a look at the input as well.
    while not select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
        key = (key * 31 + 17) % count
        try:
            found = connection.execute(f"SELECT v FROM {source}.probe WHERE id = {key}").fetchall()
            trouble = "" if found == [(key * 7,)] else f"wrong: {found} for {key}"
        except psycopg.Error as error:
            trouble = error.sqlstate or type(error).__name__
        ended = time.monotonic()
        asked.append((due, ended - due, trouble))
        due += every
        while due < ended - LATE:
            asked.append((due, ended - due, MISSED))
            due += every
    json.dump(asked, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
