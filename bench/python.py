"""geto in Python: tasks against the program `geto`, and functions against Dask's SSHCluster.

    bench/python [TASKS [ROUNDS]]      1000 and 5 by default

All of a round is run one after the other, against the same throwaway sshd; what is shown are medians.

- Tasks that do nothing (`true`): a Python process from its start to its end, with `Fleet.map`, and
  `geto map`, both with two tasks at once.
- Functions that do nothing: from an import that is done to the first result, with what that starts; then so
  many calls at once, and a tenth of it one after another. Both have two processes with one thread each.
"""

from __future__ import annotations

import getpass
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "crates/geto-python/tests"))

import sshd  # noqa: E402

#: What a process that maps tasks over a fleet is.
MAP = """
import sys, geto
task = geto.Task(geto.Script.from_argv(["true"]))
fleet = geto.Fleet.from_config("geto.ini")
assert sum(results.check() is results for results in fleet.map([task] * int(sys.argv[1]))) == int(sys.argv[1])
"""


def nothing(number: int) -> int:
    """What is called."""
    return number


def seconds(work: Callable[[], Any]) -> float:
    """How long it takes."""
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def tasks(count: int) -> dict[str, float]:
    """Runs tasks in both ways."""
    python = [sys.executable, "-c", MAP, str(count)]
    numbers = "".join(f"{number}\n" for number in range(count))
    program = [os.environ["GETO"], "map", "--config", "geto.ini", "-q", "--inputs", "-", "-c", "true"]

    def run(command: list[str], given: str) -> Callable[[], Any]:
        return lambda: subprocess.run(
            command, check=True, input=given, text=True, stdout=subprocess.DEVNULL
        )

    return {"`Fleet.map`": seconds(run(python, "")), "`geto map`": seconds(run(program, numbers))}


def by_geto(count: int) -> tuple[float, float, float]:
    """Calls functions by an Executor."""
    import geto

    begun = time.monotonic()
    with geto.Executor(geto.Fleet.from_config("geto.ini"), python=sys.executable) as executor:
        assert executor.submit(nothing, 1).result() == 1
        first = time.monotonic() - begun
        # The other worker is there, too.
        list(executor.map(nothing, range(count)))
        at_once = seconds(lambda: list(executor.map(nothing, range(count))))
        single = max(count // 10, 1)
        in_turn = seconds(lambda: [executor.submit(nothing, n).result() for n in range(single)])
    return first, count / at_once, in_turn / single


def by_dask(count: int, port: int, place: Path) -> tuple[float, float, float]:
    """Calls functions by Dask."""
    import dask.distributed

    logging.getLogger("distributed.deploy.ssh").setLevel(logging.WARNING)
    how = {
        "port": port,
        "username": getpass.getuser(),
        "known_hosts": str(place / "known_hosts"),
        "client_keys": [str(place / "id")],
    }
    begun = time.monotonic()
    # The first is that of the scheduler.
    cluster = dask.distributed.SSHCluster(
        ["127.0.0.1"] * 3,
        connect_options=how,
        worker_options={"nthreads": 1, "host": "127.0.0.1"},
        scheduler_options={"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"},
        remote_python=sys.executable,
    )
    with cluster, dask.distributed.Client(cluster) as client:
        assert client.submit(nothing, 1, pure=False).result() == 1
        first = time.monotonic() - begun
        client.wait_for_workers(2)

        def many(numbers: range) -> list[int]:
            return client.gather(client.map(nothing, numbers, pure=False))  # type: ignore[no-any-return]

        many(range(count))
        at_once = seconds(lambda: many(range(count)))
        single = max(count // 10, 1)
        in_turn = seconds(
            lambda: [client.submit(nothing, n, pure=False).result() for n in range(single)]
        )
    return first, count / at_once, in_turn / single


def main(count: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name, sshd.server(Path(name, "sshd")) as port:
        place = Path(name, "sshd")
        os.chdir(name)
        Path("geto.ini").write_text(
            f"[geto]\nprivkey_path={place}/id\nknown_hosts_path={place}/known_hosts\n"
            f"ssh_config_path=/dev/null\nremote_work_path={name}/work\nremote_lock_path={name}/lock\n"
            f"local_work_path={name}/results\n[hosts]\none=127.0.0.1\n"
            f"[one]\nport={port}\nusername={getpass.getuser()}\nslots=2\n"
        )
        ran = [tasks(count) for _ in range(rounds)]
        called = [(by_geto(count), by_dask(count, port, place)) for _ in range(rounds)]
    ours, program = (statistics.median(each[name] for each in ran) for name in ran[0])
    print(f"\n| {count} tasks that do nothing ({rounds} rounds) | wall s | tasks/s | rate, of the program's |")
    print("|---|---|---|---|")
    for name, took in zip(ran[0], (ours, program)):
        print(f"| {name} | {took:.2f} | {count / took:.0f} | {program / took:.2f} |")
    print("\n| functions that do nothing | first result, s | calls/s at once | ms a call in turn |")
    print("|---|---|---|---|")
    for name, each in zip(("`geto.Executor`", "Dask's `SSHCluster`"), zip(*called)):
        first, rate, single = (statistics.median(values) for values in zip(*each))
        print(f"| {name} | {first:.2f} | {rate:.0f} | {single * 1e3:.1f} |")


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:]]
    main(*words, *(1000, 5)[len(words) :])
