"""A world of its own for each test: a real SSH server, a geto.ini, and places to work in."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest

import geto

BIN = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def program(name: str) -> str:
    """Where a program is that tests can't do without."""
    found = shutil.which(name, path=BIN)
    assert found, f"`{name}` is missing: see ./test"
    return found


def key(path: Path) -> str:
    """Makes a key, and returns its public half."""
    command = [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(command, check=True)
    return path.with_suffix(".pub").read_text()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """An OpenSSH server of the current user: its port, and the directory with key and known_hosts."""
    place = tmp_path_factory.mktemp("sshd")
    place.chmod(0o755)
    host_key = key(place / "host")
    (place / "authorized").write_text(key(place / "id"))
    home = place / "home"
    home.mkdir()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    options = {
        "ListenAddress": "127.0.0.1:0",
        "HostKey": place / "host",
        "AuthorizedKeysFile": place / "authorized",
        "StrictModes": "no",
        "PidFile": place / "pid",
        "UsePAM": "no",
        "PermitRootLogin": "yes",
        "MaxSessions": "1000",
        "MaxStartups": "1000",
        "SetEnv": f"HOME={home}",
    }
    config = place / "sshd_config"
    # Nobody is told which port 0 came to be: one that was free a moment ago is tried.
    import socket

    for _ in range(20):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options["ListenAddress"] = f"127.0.0.1:{port}"
        config.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
        child = subprocess.Popen(
            [program("sshd"), "-D", "-e", "-f", str(config)], stderr=subprocess.PIPE, text=True
        )
        assert child.stderr
        lines = iter(child.stderr.readline, "")
        if any(re.match("Server listening on", line) for line in lines):
            break
        child.wait()
    else:
        pytest.fail("sshd could not be started")
    # It would wait for a reader of its log.
    import threading

    threading.Thread(target=child.stderr.read, daemon=True).start()
    algorithm, blob, *_ = host_key.split()
    (place / "known_hosts").write_text(f"[127.0.0.1]:{port} {algorithm} {blob}\n")
    yield port, place
    child.terminate()
    child.wait()


@pytest.fixture
def world(server: tuple[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a geto.ini that names the server as `one`; results stay below it."""
    port, place = server
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "geto.ini").write_text(
        f"[geto]\nprivkey_path={place}/id\nknown_hosts_path={place}/known_hosts\n"
        f"ssh_config_path=/dev/null\nremote_work_path={tmp_path}/work\n"
        f"remote_lock_path={tmp_path}/lock\nlocal_work_path={tmp_path}/results\n"
        f"[hosts]\none=127.0.0.1\n[one]\nport={port}\nusername={getpass.getuser()}\nslots=2\n"
    )
    return tmp_path


def until_gone(fleet: geto.Fleet, task_id: Optional[str] = None) -> None:
    """Waits until hosts have removed a task, or all: they are told so, and mostly not waited for."""
    while any(task_id in (None, task.task_id) for task in fleet.tasks()):
        pass


@pytest.fixture
def fleet(world: Path) -> geto.Fleet:
    """A fleet of the server alone."""
    return geto.Fleet.from_config("geto.ini")
