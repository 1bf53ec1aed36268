"""Ends its interpreter in the middle of work. Its argument, a number, chooses the work and the moment."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import sys
import threading
from collections.abc import Iterator
from typing import Any

import geto


#: Prints all the time, and still leaves room on the disk.
CHATTER = "while :; do yes | head -c 100000; sleep 0.05; done"


def task(*lines: str) -> geto.Task:
    # Whoever is left behind ends by itself.
    return geto.Task(geto.Script.from_commands("left", lines), timeout=30)


def futures(fleet: geto.Fleet) -> Any:
    """Tasks that print all the time, and one that nobody asks for."""
    return [fleet.submit(task(CHATTER), on_stdout=len) for _ in range(3)] + [
        fleet.submit(task("sleep 30"))
    ]


def batch(fleet: geto.Fleet) -> Any:
    """A batch without an end, whose results are not all taken."""
    results = fleet.map(task(f"echo {number}") for number in itertools.count())
    next(results)
    return results


def waiting(fleet: geto.Fleet) -> Any:
    """A batch whose tasks are still to come."""

    def tasks() -> Iterator[geto.Task]:
        yield task("true")
        threading.Event().wait()

    results = fleet.map(tasks())
    next(results)
    return results


def calls(fleet: geto.Fleet) -> Any:
    """Functions, in workers and as tasks; the end waits for them, as with other executors."""
    executors = [
        geto.Executor(fleet, python=sys.executable, reuse_workers=reuse) for reuse in (True, False)
    ]
    return [executor.submit(pow, number, 2) for executor in executors for number in range(4)]


def threads(fleet: geto.Fleet) -> Any:
    """Threads that run tasks, for which nobody waits."""

    def run() -> None:
        # Who comes after the end is told so, as by other executors.
        with contextlib.suppress(RuntimeError):
            while True:
                fleet.run(task("echo x"))

    for _ in range(3):
        threading.Thread(target=run, daemon=True).start()


def coroutines(fleet: geto.Fleet) -> Any:
    """A stream that is read in a loop on a thread of its own."""

    async def read() -> None:
        async for _ in fleet.stream(task(CHATTER)):
            pass

    threading.Thread(target=lambda: asyncio.run(read()), daemon=True).start()


WORK = [futures, batch, waiting, calls, threads, coroutines]


def main(number: int) -> None:
    dice = random.Random(number)
    fleet = geto.Fleet.from_config("geto.ini")
    # One kind alone first, then some at once.
    several = dice.sample(WORK, 3)
    left = [work(fleet) for work in (WORK[number : number + 1] or several)]
    if number % 2:
        # Something has come home over the connection.
        left.append(fleet.run(task("true")))
    threading.Event().wait(dice.choice([0, 0.01, 0.1, 0.3]))
    sys.exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
