"""Python functions on hosts."""

from __future__ import annotations

import concurrent.futures
import io
import os
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest

import geto


@pytest.fixture(params=[True, False], ids=["workers", "tasks"])
def reuse_workers(request: pytest.FixtureRequest) -> bool:
    """Whether a Python takes one call after another, or each has its own."""
    return bool(request.param)


@pytest.fixture
def executor(fleet: geto.Fleet, reuse_workers: bool) -> geto.Executor:
    return geto.Executor(fleet, python=sys.executable, reuse_workers=reuse_workers)


def test_calls_functions_on_hosts(executor: geto.Executor) -> None:
    base = 10
    with executor:
        future = executor.submit(lambda x, *, y: (base + x * y, os.environ["GETO_HOST"]), 2, y=3)
        assert future.result() == (16, "one")
        assert list(executor.map(lambda x: x + base, range(5))) == [10, 11, 12, 13, 14]
    assert isinstance(executor, concurrent.futures.Executor)
    with pytest.raises(RuntimeError):
        executor.submit(print)


def test_exceptions_come_with_the_remote_traceback(executor: geto.Executor) -> None:
    def fails() -> None:
        raise KeyError("there")

    with executor, pytest.raises(KeyError, match="there") as raised:
        executor.submit(fails).result()
    assert "in fails" in str(raised.value.__cause__)


def test_exceptions_that_can_not_be_made_anew_are_told(executor: geto.Executor) -> None:
    class Picky(Exception):
        def __init__(self, one: int, other: int) -> None:
            super().__init__(f"{one} and {other}")

    def fails() -> None:
        raise Picky(1, 2)

    with executor, pytest.raises(RuntimeError, match="1 and 2") as raised:
        executor.submit(fails).result()
    assert "in fails" in str(raised.value.__cause__)


def test_functions_may_go_elsewhere(executor: geto.Executor, tmp_path: Path) -> None:
    place = str(tmp_path)
    with executor:
        assert executor.submit(lambda: os.chdir(place) or os.getcwd()).result() == place


def test_prints_come_to_the_caller(
    executor: geto.Executor, capsys: pytest.CaptureFixture[str]
) -> None:
    with executor:
        executor.submit(lambda: print("hello from there")).result()
        # The origin looks at any moment, also within a character.
        executor.submit(lambda: [os.write(1, b"%c" % byte) for byte in "ä€".encode() * 200]).result()
    assert capsys.readouterr().out == "hello from there\n" + "ä€" * 200


def test_a_stream_that_takes_nothing_keeps_no_call_from_its_end(
    executor: geto.Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Gone())
    with executor:
        # Half a character is written at the end.
        assert executor.submit(lambda: os.write(1, b"x\xe2\x82")).result() == 3


def test_a_function_that_closes_what_it_prints_to_answers(executor: geto.Executor) -> None:
    with executor:
        assert executor.submit(lambda: os.close(1) or "closed").result() == "closed"
        assert executor.submit(lambda: print("more") or 2).result() == 2
        # It can't answer any more, and says so instead of waiting for ever.
        future = executor.submit(lambda: os.closerange(0, 100) or "closed")
        try:
            assert future.result() == "closed"
        except geto.RemoteError:
            pass
        assert executor.submit(pow, 2, 3).result() == 8


def test_sends_modules_by_value_variables_and_files(
    fleet: geto.Fleet, tmp_path: Path, reuse_workers: bool
) -> None:
    module = types.ModuleType("only_here")
    exec("def double(x): return 2 * x", module.__dict__)
    sys.modules["only_here"] = module
    (tmp_path / "data").write_text("sent")
    large = os.urandom(1 << 20)
    with geto.Executor(
        fleet,
        python=sys.executable,
        modules=[module],
        env={"MINE": "yes"},
        dependencies=["data"],
        initializer=lambda: os.environ.__setitem__("BEFORE", "set"),
        max_concurrent=1,
        reuse_workers=reuse_workers,
    ) as executor:
        assert executor.submit(module.double, 4).result() == 8
        look = executor.submit(
            lambda: (os.environ["MINE"], os.environ["BEFORE"], open("DEPS/data").read())
        )
        assert look.result() == ("yes", "set", "sent")
        assert executor.submit(lambda data: data[::-1], large).result() == large[::-1]


def test_says_that_there_is_no_python(fleet: geto.Fleet, reuse_workers: bool) -> None:
    with geto.Executor(fleet, python="python-none", reuse_workers=reuse_workers) as executor:
        with pytest.raises(geto.RemoteError, match="no `python-none` on host `one`"):
            executor.submit(int).result()


def test_says_that_python_is_of_another_version(
    fleet: geto.Fleet, tmp_path: Path, reuse_workers: bool
) -> None:
    # The real one under a name that makes it believe in another version.
    other = tmp_path / "python-other"
    other.write_text(
        f"#!/bin/sh\nshift 2\nexec {sys.executable} -c "
        '"import sys; sys.version_info = (3, 2, 0); exec(sys.argv[1])" "$1"\n'
    )
    other.chmod(0o755)
    with geto.Executor(fleet, python=str(other), reuse_workers=reuse_workers) as executor:
        with pytest.raises(geto.RemoteError, match="has Python 3.2") as raised:
            executor.submit(int).result()
    assert raised.value.host == "one"


def test_function_that_ends_its_process_is_an_error(executor: geto.Executor) -> None:
    with executor, pytest.raises(geto.RemoteError, match="exited with code 7"):
        executor.submit(os._exit, 7).result()


def test_shutdown_cancels_what_has_not_begun(
    fleet: geto.Fleet, tmp_path: Path, reuse_workers: bool
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    executor = geto.Executor(
        fleet, python=sys.executable, max_concurrent=1, reuse_workers=reuse_workers
    )
    path = str(gate)
    first = executor.submit(lambda: open(path).read())
    rest = [executor.submit(int) for _ in range(5)]
    # It is there once it reads.
    writer = open(gate, "w")
    closer = threading.Thread(target=executor.shutdown, kwargs={"cancel_futures": True})
    closer.start()
    concurrent.futures.wait(rest)
    writer.write("x")
    writer.close()
    closer.join()
    assert first.result() == "x"
    assert all(future.cancelled() for future in rest)


def test_the_end_of_the_interpreter_waits_for_calls_and_is_clean(world: Path) -> None:
    program = (
        "import geto, sys\n"
        "fleet = geto.Fleet.from_config('geto.ini')\n"
        "executor = geto.Executor(fleet, python=sys.executable)\n"
        "future = executor.submit(print, 'at the end')\n"
        "fleet.run(geto.Task(geto.Script.from_commands('job', ['exit 3'])))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "at the end\n"), ran.stderr
