"""Runs a program once for each pair of parameters, and shows the results as a table.

usage: python sweep.py [HOST...]
"""

import itertools
import sys

import pandas

import geto

SCRIPT = geto.Script.from_commands(
    "sweep", ['awk -v x="$1" -v y="$2" \'BEGIN { print x * x + y * y }\'']
)


def main(hosts: list[str]) -> None:
    """Runs the sweep on the hosts, or on those that geto knows."""
    fleet = geto.Fleet(hosts or None)
    pairs = list(itertools.product(range(3), range(4)))
    tasks = [geto.Task(SCRIPT, args=[str(x), str(y)]) for x, y in pairs]
    rows = [
        {"x": x, "y": y, "value": float(results.check().text), "host": results.host}
        for (x, y), results in zip(pairs, fleet.map(tasks))
    ]
    table = pandas.DataFrame(rows)
    print(table.pivot(index="x", columns="y", values="value"))


if __name__ == "__main__":
    main(sys.argv[1:])
