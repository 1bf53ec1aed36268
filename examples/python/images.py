"""Makes negatives of many images (PGM), each on whatever host has room; they need a python3.

usage: python images.py OUT IMAGE... [-- HOST...]
"""

import sys
from pathlib import Path

import geto

SCRIPT = geto.Script(
    "negative",
    b"""#!/usr/bin/env python3
import os, sys
with open(os.path.join("DEPS", sys.argv[1]), "rb") as file:
    magic, size, depth, pixels = file.read().split(b"\\n", 3)
with open(sys.argv[1], "wb") as file:
    file.write(b"\\n".join([magic, size, depth, bytes(255 - pixel for pixel in bytearray(pixels))]))
""",
)


def main(out: str, images: list[str], hosts: list[str]) -> None:
    """Sends each image, and puts its negative into a directory."""
    fleet = geto.Fleet(hosts or None)
    tasks = [geto.Task(SCRIPT, args=[Path(image).name], dependencies=[image]) for image in images]
    made = fleet.map(tasks, into=lambda number, task: out, ordered=False)
    for number, results in enumerate(made, 1):
        results.check()
        print(f"{number} of {len(images)}, on {results.host}")


if __name__ == "__main__":
    words = sys.argv[1:] + ["--"]
    cut = words.index("--")
    main(words[0], words[1:cut], words[cut + 1 : -1])
