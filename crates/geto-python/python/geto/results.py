"""What tasks bring home."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Optional

from .errors import TaskFailed


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    >>> import geto
    >>> task = geto.Task(geto.Script.from_commands("job", ["kill -9 $$"]))
    >>> outcome = geto.Fleet(hosts=["local"]).run(task).outcome
    >>> outcome.kind, outcome.text, outcome.exit_code, outcome.returncode
    ('signalled', 'ended by signal 9', 137, -9)
    """

    #: ``exited``, ``signalled``, ``timed-out``, ``cancelled``, ``lost`` or ``running``.
    kind: str
    #: The same in words.
    text: str
    #: The exit code that ``geto run`` would end with.
    exit_code: int
    #: As in :mod:`subprocess`: the exit code, or a signal's number below zero; ``None`` for others.
    returncode: Optional[int]

    @property
    def success(self) -> bool:
        """Whether the script ended by itself with exit code 0.

        >>> import geto
        >>> task = geto.Task(geto.Script.from_argv(["false"]))
        >>> geto.Fleet(hosts=["local"]).run(task).outcome.success
        False
        """
        return self.kind == "exited" and self.returncode == 0


@dataclass(frozen=True)
class Results:
    """What a task brought home; all that it names is complete and on disk here.

    >>> import geto
    >>> task = geto.Task(geto.Script.from_commands("leave", ["echo out", "echo in >file"]))
    >>> results = geto.Fleet(hosts=["local"]).run(task)
    >>> results.stdout, results.exit_code, (results.files / "file").read_text()
    (b'out\\n', 0, 'in\\n')
    """

    #: The id of the task's instance.
    task_id: str
    #: The name of its script.
    script: str
    #: The name of its host.
    host: str
    #: How it ended.
    outcome: Outcome
    #: When the script started, by the clock of this machine: seconds since 1970.
    started: float
    #: How long it ran, measured on the host.
    run_time: timedelta
    #: Processor time of the script and of its children that it waited for.
    cpu_time: timedelta
    #: Where ``stdout``, ``stderr`` and ``outcome.json`` are, for as long as results are kept.
    directory: Path
    #: Where the files are that it left, if it left any.
    files: Optional[Path]
    #: What one should know.
    warnings: tuple[str, ...]

    @property
    def stdout(self) -> bytes:
        """What the script wrote to its standard output.

        >>> import geto
        >>> task = geto.Task(geto.Script.from_argv(["echo", "hi"]))
        >>> geto.Fleet(hosts=["local"]).run(task).stdout
        b'hi\\n'
        """
        return (self.directory / "stdout").read_bytes()

    @property
    def stderr(self) -> bytes:
        """What it wrote to its standard error.

        >>> import geto
        >>> task = geto.Task(geto.Script.from_commands("job", ["echo hi >&2"]))
        >>> geto.Fleet(hosts=["local"]).run(task).stderr
        b'hi\\n'
        """
        return (self.directory / "stderr").read_bytes()

    @property
    def text(self) -> str:
        """Its standard output as UTF-8; what is none becomes U+FFFD.

        >>> import geto
        >>> task = geto.Task(geto.Script.from_argv(["printf", "a\\\\377"]))
        >>> ascii(geto.Fleet(hosts=["local"]).run(task).text)
        "'a\\\\ufffd'"
        """
        return self.stdout.decode(errors="replace")

    @property
    def exit_code(self) -> int:
        """The exit code that ``geto run`` would end with: 124 for a timeout, 128+n for a signal.

        >>> import geto
        >>> task = geto.Task(geto.Script.from_commands("job", ["sleep 600"]), timeout=1)
        >>> geto.Fleet(hosts=["local"]).run(task).exit_code
        124
        """
        return self.outcome.exit_code

    @property
    def returncode(self) -> Optional[int]:
        """As in :mod:`subprocess`; ``None`` if the script did not end by itself or by a signal.

        >>> import geto
        >>> task = geto.Task(geto.Script.from_commands("job", ["exit 3"]))
        >>> geto.Fleet(hosts=["local"]).run(task).returncode
        3
        """
        return self.outcome.returncode

    def check(self) -> Results:
        """Returns itself when the script succeeded.

        Raises :class:`TaskFailed` otherwise.

        >>> import geto
        >>> task = geto.Task(geto.Script.from_argv(["echo", "hi"]))
        >>> geto.Fleet(hosts=["local"]).run(task).check().text
        'hi\\n'
        """
        if not self.outcome.success:
            raise TaskFailed(self)
        return self


def outcome_of(told: dict[str, Any]) -> Outcome:
    """Makes an outcome of what the engine told."""
    return Outcome(**told)


def results_of(told: dict[str, Any]) -> Results:
    """Makes results of what the engine told."""
    files = told["files"]
    return Results(
        task_id=told["task_id"],
        script=told["script"],
        host=told["host"],
        outcome=outcome_of(told["outcome"]),
        started=told["started"],
        run_time=timedelta(seconds=told["run_time"]),
        cpu_time=timedelta(seconds=told["cpu_time"]),
        directory=Path(told["directory"]),
        files=None if files is None else Path(files),
        warnings=tuple(told["warnings"]),
    )
