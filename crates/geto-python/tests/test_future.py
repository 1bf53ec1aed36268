"""Futures, batches and coroutines."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import geto
from conftest import until_gone


def task(*lines: str, **more: object) -> geto.Task:
    return geto.Task(geto.Script.from_commands("job", lines), **more)  # type: ignore[arg-type]


def begun(fleet: geto.Fleet, *lines: str, **more: object) -> geto.TaskFuture:
    """Submits a task, and waits until it is known here that it runs: its host knows that before."""
    heard = threading.Event()
    future = fleet.submit(task("echo", *lines, **more), on_stdout=lambda _: heard.set())
    future.add_done_callback(lambda _: heard.set())
    heard.wait()
    return future


def fifo(path: Path) -> str:
    """A pipe that opens for writing once somebody reads it."""
    os.mkfifo(path)
    return str(path)


def test_future_of_one_that_runs_can_be_killed_and_not_cancelled(
    fleet: geto.Fleet, tmp_path: Path
) -> None:
    gate = fifo(tmp_path / "gate")
    future = begun(fleet, f"read x <{gate}")
    with open(gate, "w"):
        assert isinstance(future, concurrent.futures.Future)
        assert future.running() and not future.cancel() and not future.cancelled()
        assert future.host == "one" and future.task_id
        future.kill()
        assert future.result().outcome.kind == "cancelled"


def test_future_of_one_that_waits_can_be_cancelled(fleet: geto.Fleet, tmp_path: Path) -> None:
    gate = fifo(tmp_path / "gate")
    first = fleet.submit(task(f"read x <{gate}", slots=2))
    with open(gate, "w"):
        second = fleet.submit(task(f"echo ran >{tmp_path}/ran"))
        assert second.cancel() and second.cancelled()
        with pytest.raises(concurrent.futures.CancelledError):
            second.result()
    assert first.result().exit_code == 1
    fleet.run(task("true", slots=2))
    assert not (tmp_path / "ran").exists()


def test_context_waits_for_what_was_submitted(fleet: geto.Fleet) -> None:
    with fleet:
        future = fleet.submit(task("echo x"))
    assert future.done()


def test_map_takes_tasks_lazily_and_keeps_their_order(fleet: geto.Fleet, tmp_path: Path) -> None:
    gate = fifo(tmp_path / "gate")
    taken = []

    def tasks():  # type: ignore[no-untyped-def]
        for number in range(2000):
            taken.append(number)
            # Hosts have no room for more until results are closed.
            yield task(f"[ $1 -lt 10 ] || read x <{gate}", "echo $1", args=[str(number)])

    results = fleet.map(tasks())
    assert [next(results).text for _ in range(10)] == [f"{n}\n" for n in range(10)]
    results.close()  # type: ignore[attr-defined]
    assert len(taken) < 500


def test_map_gives_results_as_they_complete(fleet: geto.Fleet, tmp_path: Path) -> None:
    gate = fifo(tmp_path / "gate")
    tasks = [task(f"read x <{gate}; echo late"), task("echo soon")]
    results = fleet.map(tasks, ordered=False)
    assert next(results).text == "soon\n"
    with open(gate, "w"):
        pass
    assert [result.text for result in results] == ["late\n"]


def test_map_puts_files_where_it_is_told_and_shows_progress(
    fleet: geto.Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [task("echo x >file")] * 2
    for _ in fleet.map(tasks, into=lambda number, _: f"out/{number}", progress=True):
        pass
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0", "1"]
    assert "2/2" in capsys.readouterr().err


def test_coroutines_run_and_stream_in_a_running_loop(fleet: geto.Fleet) -> None:
    async def main() -> None:
        many = [fleet.run_async(task("echo $1", args=[str(n)])) for n in range(3)]
        assert [results.text for results in await asyncio.gather(*many)] == ["0\n", "1\n", "2\n"]
        lines = [line async for line in fleet.stream(task("echo a", "echo b", "printf ä"))]
        assert lines == ["a", "b", "ä"]
        with pytest.raises(geto.TaskFailed):
            async for _ in fleet.stream(task("exit 3")):
                pass
        # As in Jupyter: a loop runs, and the call is synchronous.
        assert fleet.run(task("echo sync")).text == "sync\n"

    asyncio.run(main())


def test_cancelling_the_coroutine_ends_the_task(fleet: geto.Fleet, tmp_path: Path) -> None:
    gate = fifo(tmp_path / "gate")

    async def main() -> None:
        running = asyncio.ensure_future(fleet.run_async(task(f"read x <{gate}; sleep 600")))
        with await asyncio.get_running_loop().run_in_executor(None, open, gate, "w"):
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    asyncio.run(main())
    assert all(known.state == "ended" for known in fleet.tasks())


def test_leaving_a_stream_ends_the_task(fleet: geto.Fleet) -> None:
    async def main() -> None:
        stream = fleet.stream(task("echo first; sleep 600"))
        async for line in stream:
            assert line == "first"
            break
        await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())
    assert all(known.state == "ended" for known in fleet.tasks())


def test_leaving_a_stream_that_nobody_reads_ends_the_task(fleet: geto.Fleet) -> None:
    async def main() -> None:
        stream = fleet.stream(task("exec yes"))
        async for line in stream:
            assert line == "y"
            break
        await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())
    assert all(known.state == "ended" for known in fleet.tasks())


def test_cancel_beside_a_start_is_one_or_the_other(fleet: geto.Fleet) -> None:
    class Slow(geto.TaskFuture):
        """One whose canceller comes between look and step."""

        def set_running_or_notify_cancel(self) -> bool:
            if not hasattr(self, "canceller"):
                self.canceller = threading.Thread(target=self.cancel)
                self.canceller.start()
                # It gets there, or waits for the lock.
                self.canceller.join(0.2)
            return super().set_running_or_notify_cancel()

    future = Slow(lambda value: value)
    future.begun()
    future.canceller.join()
    future.told(1, None)  # type: ignore[arg-type]
    assert future.result() == 1


def test_letting_go_of_a_batch_ends_it(fleet: geto.Fleet, tmp_path: Path) -> None:
    gate = fifo(tmp_path / "gate")
    results = fleet.map([task(f"echo >{gate}; sleep 600")])
    assert Path(gate).read_text() == "\n"
    del results
    assert all(known.state == "ended" for known in fleet.tasks())


def test_ctrl_c_ends_the_task_and_is_raised(fleet: geto.Fleet, tmp_path: Path) -> None:
    gate = fifo(tmp_path / "gate")
    program = (
        "import geto, signal\n"
        # What runs in the background may have been told to ignore it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"task = geto.Task(geto.Script.from_commands('job', ['echo $$; read x <{gate}; sleep 600']))\n"
        "try:\n"
        "    geto.Fleet.from_config('geto.ini').run(task)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    with open(gate, "w"):
        child.send_signal(signal.SIGINT)
        assert child.communicate()[0] == "interrupted\n"
    assert all(known.state == "ended" for known in fleet.tasks())


def test_others_run_while_one_waits(fleet: geto.Fleet, tmp_path: Path) -> None:
    gate = fifo(tmp_path / "gate")
    results = []
    waiting = threading.Thread(target=lambda: results.append(fleet.run(task(f"read x <{gate}"))))
    waiting.start()
    with open(gate, "w"):
        assert fleet.run(task("echo other")).text == "other\n"
    waiting.join()
    assert len(results) == 1


def in_fork(check: Callable[[], bool]) -> bool:
    """What a child of a fork finds."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            code = 0 if check() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_fork_of_one_that_ran_tasks_says_so(fleet: geto.Fleet, tmp_path: Path) -> None:
    gate = fifo(tmp_path / "gate")
    future = fleet.submit(task(f"read x <{gate}"))
    called: list[object] = []
    future.add_done_callback(called.append)
    batch = fleet.map([task("true")])
    executor = geto.Executor(fleet, python=sys.executable)
    # It must not be over when the fork is made.
    held = fifo(tmp_path / "held")
    call = executor.submit(Path.read_bytes, Path(held))

    def check() -> bool:
        try:
            next(batch)
        except geto.ForkedError:
            pass
        # Nobody here waits for what is the parent's.
        executor.shutdown()
        ours = geto.Executor(fleet, python=sys.executable)
        try:
            with ours:
                ours.submit(int)
        except geto.ForkedError:
            pass
        assert isinstance(call.exception(timeout=0), geto.ForkedError) and not called
        try:
            fleet.run(task("true"))
        except geto.ForkedError as error:
            return isinstance(future.exception(timeout=0), geto.ForkedError) and bool(error.hint)
        return False

    with open(gate, "w"), open(held, "w"):
        assert in_fork(check)
    assert future.result().exit_code == 1 and called == [future]
    assert [results.exit_code for results in batch] == [0]
    with executor:
        assert call.result() == b""
    assert fleet.run(task("echo parent")).text == "parent\n"


def test_a_fork_of_one_that_ran_none_runs_tasks(world: Path) -> None:
    program = (
        "import geto, os\n"
        "fleet = geto.Fleet(hosts=['one'], config='geto.ini')\n"
        "if os.fork() == 0:\n"
        "    task = geto.Task(geto.Script.from_commands('job', ['echo child']))\n"
        "    os.write(1, fleet.run(task).stdout)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert ran.stdout == b"child\n"


def test_tasks_that_were_left_are_found_again(fleet: geto.Fleet, tmp_path: Path) -> None:
    gate = fifo(tmp_path / "gate")
    left = fleet.detach(task(f"echo before; read x <{gate}; echo after"))
    other = geto.Fleet.from_config("geto.ini")
    assert [known.task_id for known in other.tasks()] == [left.task_id]
    with open(gate, "w"):
        assert other.fetch(left.task_id).outcome.kind == "running"
    out = bytearray()
    assert other.attach(left, on_stdout=out.extend).text == "before\nafter\n"
    assert out == b"before\nafter\n"
    again = fleet.detach(task("sleep 600"))
    other.kill(again)
    until_gone(other, left.task_id)
    (known,) = other.tasks()
    assert known.outcome and known.outcome.kind == "cancelled"
    other.remove(known)
    assert other.tasks() == []
    with pytest.raises(geto.UsageError, match="no task"):
        other.attach("0123-4567-89ab-cdef")


def test_ctrl_c_while_a_task_is_started_ends_it(
    fleet: geto.Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted:
        """The engine, whose caller is interrupted before it has an answer."""

        def __init__(self, native: Any) -> None:
            self.native = native

        def run(self, *args: Any, **more: Any) -> None:
            self.native.run(*args, **more)
            raise KeyboardInterrupt

    monkeypatch.setattr(fleet, "_native", Interrupted(fleet._native))
    with pytest.raises(KeyboardInterrupt):
        fleet.run(task("sleep 600"))
    assert all(known.state == "ended" for known in geto.Fleet.from_config("geto.ini").tasks())
