"""The end of an interpreter in the middle of work."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

import geto

#: Far more than it takes: one that hangs is ended, and fails.
LONG = 300


@pytest.mark.parametrize("number", range(10))
def test_an_interpreter_that_ends_in_the_middle_of_work_is_clean(world: Path, number: int) -> None:
    text = (world / "geto.ini").read_text()
    (world / "geto.ini").write_text(text.replace("slots=2", "slots=32"))
    program = str(Path(__file__).with_name("leaves.py"))
    ran = subprocess.run(
        [sys.executable, program, str(number)], capture_output=True, text=True, timeout=LONG
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    # What runs goes on on its host, whoever left it.
    fleet = geto.Fleet.from_config("geto.ini")
    for left in fleet.tasks():
        # One that came home may still be on its way out: the host hears of it on its own.
        with contextlib.suppress(geto.LostError):
            fleet.kill(left)
