"""A world of its own for each test: a real SSH server, a geto.ini, and places to work in."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest

import geto
import sshd


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """An OpenSSH server of the current user: its port, and the directory with key and known_hosts."""
    place = tmp_path_factory.mktemp("sshd")
    with sshd.server(place) as port:
        yield port, place


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
