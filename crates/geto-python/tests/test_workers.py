"""Pythons on hosts that take one call after another."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import geto
import geto.workers
from conftest import until_gone


@pytest.fixture
def executor(fleet: geto.Fleet) -> Iterator[geto.Executor]:
    with geto.Executor(fleet, python=sys.executable, max_concurrent=1) as executor:
        yield executor


def test_one_process_takes_one_call_after_another(fleet: geto.Fleet, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    def begin() -> None:
        with open(tmp_path / "begun", "a") as file:
            file.write(f"{os.getpid()}\n")

    with geto.Executor(fleet, python=sys.executable, initializer=begin) as executor:
        pids = set(executor.map(lambda _: os.getpid(), range(20)))
        held = executor.submit(lambda: (os.getpid(), open(gate).read()))
        with open(gate, "w"):
            assert "geto-python" in {task.script for task in fleet.tasks()}
        # One that has taken no call may have begun, too. The host has two slots.
        begun = (tmp_path / "begun").read_text().splitlines()
        assert {*map(str, pids), str(held.result()[0])} <= set(begun)
        assert len(begun) == len(set(begun)) and len(pids) <= 2
    # They are gone with it, and so is all that they have left.
    until_gone(fleet)
    assert not any((tmp_path / "results").glob("????-????-????-????"))


def test_an_initializer_that_fails_is_what_each_call_raises(fleet: geto.Fleet) -> None:
    with geto.Executor(fleet, python=sys.executable, initializer=lambda: {}["no"]) as executor:
        for _ in range(2):
            with pytest.raises(KeyError, match="no"):
                executor.submit(int).result()


def test_an_initializer_that_ends_its_process_is_an_error(fleet: geto.Fleet) -> None:
    with geto.Executor(fleet, python=sys.executable, initializer=lambda: os._exit(7)) as executor:
        for _ in range(2):
            with pytest.raises(geto.RemoteError, match="exited with code 7"):
                executor.submit(int).result()


def test_a_worker_that_ends_under_a_call_fails_that_one_alone(executor: geto.Executor) -> None:
    first = executor.submit(os._exit, 7)
    rest = [executor.submit(int, n) for n in range(3)]
    with pytest.raises(geto.RemoteError, match="exited with code 7"):
        first.result()
    assert [future.result() for future in rest] == [0, 1, 2]


def test_a_call_whose_worker_ended_before_it_took_it_goes_to_another(
    executor: geto.Executor, tmp_path: Path
) -> None:
    def call() -> int:
        with open(tmp_path / "made", "a") as file:
            file.write("x")
        return os.getpid()

    for _ in range(3):
        pid = executor.submit(call).result()
        os.kill(pid, signal.SIGKILL)
        assert executor.submit(call).result() != pid
    assert (tmp_path / "made").read_text() == "x" * 6


def test_a_link_that_breaks_under_a_call_makes_it_no_second_time(
    executor: geto.Executor, tmp_path: Path, server: tuple[int, Path]
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    def call() -> str:
        with open(tmp_path / "made", "a") as file:
            file.write("x")
        return open(gate).read()

    future = executor.submit(call)
    with open(gate, "w") as writer:
        # All that the server has for its clients.
        listener = (server[1] / "pid").read_text().strip()
        for child in Path(f"/proc/{listener}/task/{listener}/children").read_text().split():
            # Those of fleets that are let go of end by themselves.
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        writer.write("through")
    assert future.result() == "through"
    assert executor.submit(int, 3).result() == 3
    assert (tmp_path / "made").read_text() == "x"


def test_what_is_printed_is_there_before_the_result(
    executor: geto.Executor, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(5):
        executor.submit(print, number).result()
        assert capsys.readouterr().out == f"{number}\n"


def test_an_idle_worker_gives_its_slot_back(
    executor: geto.Executor, fleet: geto.Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geto.workers, "_IDLE", 0.0)
    pid = executor.submit(os.getpid).result()
    until_gone(fleet)
    assert executor.submit(os.getpid).result() != pid


def test_a_worker_ends_by_itself_when_its_caller_was_killed(
    world: Path, fleet: geto.Fleet, tmp_path: Path
) -> None:
    program = (
        "import geto, os, sys\n"
        "def hurry():\n"
        "    import __main__\n"
        "    assert __main__.PATIENCE\n"
        "    __main__.PATIENCE = 0.01\n"
        "fleet = geto.Fleet.from_config('geto.ini')\n"
        "executor = geto.Executor(fleet, python=sys.executable)\n"
        "executor.submit(hurry).result()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == -9, ran.stderr
    while True:
        (task,) = fleet.tasks()
        if task.state == "ended":
            break
    assert task.outcome and task.outcome.success
    fleet.remove(task)


def test_large_arguments_are_a_task_of_their_own(executor: geto.Executor) -> None:
    large = os.urandom(1 << 20)
    pid = executor.submit(os.getpid).result()
    # It does not wait for the slot of a worker that has nothing to do.
    other, data = executor.submit(lambda data: (os.getpid(), data[:9]), large).result()
    assert other != pid and data == large[:9]


def test_a_fork_is_told_that_the_engine_is_not_there(executor: geto.Executor) -> None:
    executor.submit(int).result()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            executor.submit(int)
        except geto.ForkedError:
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def test_what_a_host_sets_up_may_print(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (world / "geto.ini").read_text()
    (world / "setup.ini").write_text(text + "setup=echo one; echo two; printf three\n")
    fleet = geto.Fleet.from_config("setup.ini")
    with geto.Executor(fleet, python=sys.executable, max_concurrent=1) as executor:
        executor.submit(print, "mine").result()
    assert capsys.readouterr().out == "one\ntwo\nthreemine\n"
