"""An OpenSSH server of the current user, for as long as somebody needs it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

BIN = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def program(name: str) -> str:
    """Where a program is that nothing can be done without."""
    found = shutil.which(name, path=BIN)
    assert found, f"`{name}` is missing: see ./test"
    return found


def key(path: Path) -> str:
    """Makes a key, and returns its public half."""
    command = [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(command, check=True)
    return path.with_suffix(".pub").read_text()


@contextlib.contextmanager
def server(place: Path) -> Iterator[int]:
    """Starts one with its files in ``place``, among them `id`, `known_hosts` and `pid`; its port."""
    place.mkdir(exist_ok=True)
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
    for _ in range(20):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
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
        raise RuntimeError("sshd could not be started")
    # It would wait for a reader of its log.
    threading.Thread(target=child.stderr.read, daemon=True).start()
    algorithm, blob, *_ = host_key.split()
    (place / "known_hosts").write_text(f"[127.0.0.1]:{port} {algorithm} {blob}\n")
    try:
        yield port
    finally:
        child.terminate()
        child.wait()
