"""Tasks one by one, and what they bring home."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

import geto


def commands(*lines: str, name: str = "job") -> geto.Script:
    return geto.Script.from_commands(name, lines)


def test_brings_home_output_exit_code_and_files(fleet: geto.Fleet, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in")
    script = commands('cat DEPS/data; echo "$1 $X" >&2; echo left >file; exit 3')
    task = geto.Task(script, args=["a b"], dependencies=["data"], env={"X": "y"}, timeout=60)
    results = fleet.run(task)
    assert (results.stdout, results.stderr, results.text) == (b"in", b"a b y\n", "in")
    assert (results.exit_code, results.returncode, results.outcome.kind) == (3, 3, "exited")
    assert results.host == "one"
    assert results.files and (results.files / "file").read_text() == "left\n"
    assert results.run_time < timedelta(seconds=60)


def test_check_raises_as_subprocess_does(fleet: geto.Fleet) -> None:
    task = geto.Task(commands("echo out; echo no >&2; exit 4"))
    with pytest.raises(geto.TaskFailed, match="exited with code 4") as raised:
        fleet.run(task).check()
    theirs = subprocess.CalledProcessError(4, "x", b"out\n", b"no\n")
    for name in ("returncode", "stdout", "output", "stderr"):
        assert getattr(raised.value, name) == getattr(theirs, name)
    assert raised.value.host == "one"


def test_makes_scripts_in_three_ways(fleet: geto.Fleet, tmp_path: Path) -> None:
    (tmp_path / "hi.sh").write_text("echo hi\n")
    for script in (
        geto.Script("hi").command("echo hi"),
        geto.Script.from_commands("hi", ["echo hi"], max_concurrent=2),
        geto.Script.from_path("hi.sh"),
    ):
        assert script.name == "hi"
        assert fleet.run(geto.Task(script)).text == "hi\n"


def test_puts_wanted_files_where_it_is_told(fleet: geto.Fleet, tmp_path: Path) -> None:
    task = geto.Task(commands("echo 1 >a.csv; echo 2 >b.txt"))
    fleet.run(task, host="one", pick="first", into="out", bring=["*.csv"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.csv"]


def test_follows_output_as_it_comes(fleet: geto.Fleet) -> None:
    out, err = bytearray(), bytearray()
    fleet.run(geto.Task(commands("echo 1; echo 2 >&2")), on_stdout=out.extend, on_stderr=err.extend)
    assert (out, err) == (b"1\n", b"2\n")


def test_listener_that_fails_ends_the_task(fleet: geto.Fleet) -> None:
    def listen(chunk: bytes) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fleet.run(geto.Task(commands("echo 1; sleep 600")), on_stdout=listen)
    assert all(task.state == "ended" for task in fleet.tasks())


def test_timeout_takes_a_timedelta(fleet: geto.Fleet) -> None:
    task = geto.Task(commands("sleep 600"), timeout=timedelta(milliseconds=500))
    results = fleet.run(task)
    assert (results.outcome.kind, results.exit_code, results.returncode) == ("timed-out", 124, None)


def test_runs_on_each_host(fleet: geto.Fleet) -> None:
    each = fleet.run_each(geto.Task(commands("echo hi")))
    assert isinstance(each["one"], geto.Results) and each["one"].text == "hi\n"


def test_hosts_are_those_of_the_configuration(fleet: geto.Fleet) -> None:
    (host,) = fleet.hosts
    assert (host.name, host.address, host.slots) == ("one", "127.0.0.1", 2)


def test_errors_say_where_and_what_helps(world: Path, server: tuple[int, Path]) -> None:
    text = (world / "geto.ini").read_text().replace(f"port={server[0]}", "port=1")
    (world / "down.ini").write_text(text)
    with pytest.raises(geto.UnreachableError, match="refused") as raised:
        geto.Fleet.from_config("down.ini").run(geto.Task(commands("true")))
    assert raised.value.host == "one"
    assert isinstance(raised.value, geto.GetoError)
    (world / "strange.ini").write_text(re.sub("known_hosts_path=.*", "known_hosts_path=no", text))
    strange = (world / "strange.ini").read_text().replace("port=1", f"port={server[0]}")
    (world / "strange.ini").write_text(strange)
    with pytest.raises(geto.HostKeyError) as unknown:
        geto.Fleet.from_config("strange.ini").run(geto.Task(commands("true")))
    assert unknown.value.hint and "geto trust" in unknown.value.hint
    with pytest.raises(geto.UsageError, match="prot"):
        (world / "bad.ini").write_text(text.replace("port=", "prot="))
        geto.Fleet.from_config("bad.ini")
    with pytest.raises(ValueError, match="variable"):
        geto.Task(commands("true"), env={"GETO_TASK_ID": "x"}).native()


def test_nobody_is_asked_but_who_was_named(world: Path, server: tuple[int, Path]) -> None:
    key = server[1] / "id"
    locked = world / "locked"
    locked.write_bytes(key.read_bytes())
    locked.chmod(0o600)
    command = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-f", str(locked)]
    subprocess.run(command, check=True)
    text = (world / "geto.ini").read_text().replace(str(key), str(locked))
    (world / "locked.ini").write_text(text)
    task = geto.Task(commands("echo in"))
    with pytest.raises(geto.AuthenticationError, match="no passphrase"):
        geto.Fleet.from_config("locked.ini").run(task)
    asked = []

    def ask(question: str, echo: bool) -> str:
        asked.append((str(locked) in question, echo))
        return "open sesame"

    assert geto.Fleet.from_config("locked.ini", ask=ask).run(task).text == "in\n"
    assert asked == [(True, False)]


def test_one_text_is_not_taken_for_its_letters(fleet: geto.Fleet) -> None:
    script = geto.Script.from_commands("job", ["true"])
    wrong: list[Callable[[], object]] = [
        lambda: geto.Script.from_commands("job", "true"),
        lambda: geto.Script.from_argv("true"),
        lambda: fleet.run(geto.Task(script, args="ab")),
        lambda: fleet.run(geto.Task(script, dependencies="data")),
        lambda: fleet.run(geto.Task(script), bring="*.csv"),
        lambda: fleet.fetch("0000-0000-0000-0001", host="one", bring="*.csv"),
    ]
    for call in wrong:
        with pytest.raises(TypeError, match="is one text: write"):
            call()
