"""The programs of examples/python, as people run them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[3] / "examples" / "python"


def ran(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs one of them in the test's world."""
    command = [sys.executable, str(EXAMPLES / name), *words]
    return subprocess.run(command, capture_output=True, text=True)


def test_sweep_makes_a_table(world: Path) -> None:
    shown = ran("sweep.py")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[-1].split() == ["2", "4.0", "5.0", "8.0", "13.0"]


def test_images_are_made_elsewhere(world: Path) -> None:
    for name in ("a.pgm", "b.pgm"):
        (world / name).write_bytes(b"P5\n2 1\n255\n\x00\x0a")
    shown = ran("images.py", "out", "a.pgm", "b.pgm")
    assert shown.returncode == 0, shown.stderr
    assert (world / "out" / "b.pgm").read_bytes() == b"P5\n2 1\n255\n\xff\xf5"


def test_remote_tests_end_as_they_do(world: Path) -> None:
    project = world / "project"
    project.mkdir()
    test = "import unittest\nclass T(unittest.TestCase):\n def test_it(self): self.assertEqual(1, {})\n"
    (project / "test_it.py").write_text(test.format(1))
    good = ran("remote_tests.py", str(project), "one")
    assert (good.returncode, "OK" in good.stdout) == (0, True), good
    (project / "test_it.py").write_text(test.format(2))
    bad = ran("remote_tests.py", str(project), "one")
    assert (bad.returncode, "FAILED" in bad.stdout) == (1, True), bad
