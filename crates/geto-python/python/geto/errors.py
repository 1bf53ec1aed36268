"""What can go wrong, as a small hierarchy under :class:`GetoError`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    from .results import Results


class GetoError(Exception):
    """Something went wrong that is no task's own failure.

    >>> import geto
    >>> try:
    ...     geto.Fleet(hosts=["no-such-name"])
    ... except geto.GetoError as error:
    ...     print(type(error).__name__, error.hint)
    UsageError if it is an address, write `no-such-name:22`
    """

    #: The name of the host where it happened, if it is of one.
    host: Optional[str]
    #: What helps, if that is known.
    hint: Optional[str]
    #: The id of the task, if it is of one.
    task_id: Optional[str]

    def __init__(
        self,
        message: str,
        *,
        host: Optional[str] = None,
        hint: Optional[str] = None,
        task_id: Optional[str] = None,
    ) -> None:
        super().__init__(message)
        self.host = host
        self.hint = hint
        self.task_id = task_id

    def __reduce__(self) -> Any:
        return (_restore, (type(self), self.args, self.__dict__))


class UsageError(GetoError, ValueError):
    """The configuration, a host's name or a task is wrong: the same call will fail again.

    >>> import geto, pathlib
    >>> _ = pathlib.Path("wrong.ini").write_text("[hosts]\\none=10.0.0.10\\n[one]\\nprot=22\\n")
    >>> try:
    ...     geto.Fleet.from_config("wrong.ini")
    ... except geto.UsageError as error:
    ...     print("prot" in str(error))
    True
    """


class UnreachableError(GetoError, ConnectionError):
    """The host could not be reached.

    >>> import geto
    >>> fleet = geto.Fleet(hosts=["athos@127.0.0.1:1"])
    >>> try:
    ...     fleet.run(geto.Task(geto.Script.from_argv(["true"])))
    ... except geto.UnreachableError as error:
    ...     print(error.host)
    athos@127.0.0.1:1
    """


class HostKeyError(GetoError):
    """The key of the host is unknown, changed or revoked.

    >>> import geto
    >>> fleet, task = geto.Fleet(hosts=["local"]), geto.Task(geto.Script.from_argv(["true"]))
    >>> try:
    ...     results = fleet.run(task)
    ... except geto.HostKeyError as error:
    ...     print(error.hint)  # how `geto trust` learns it
    """


class AuthenticationError(GetoError):
    """The host did not accept any credentials.

    >>> import geto
    >>> fleet, task = geto.Fleet(hosts=["local"]), geto.Task(geto.Script.from_argv(["true"]))
    >>> try:
    ...     results = fleet.run(task)
    ... except geto.AuthenticationError as error:
    ...     fleet = geto.Fleet(ask=lambda question, echo: input(question))
    """


class HostError(GetoError):
    """The host's shell did not do what geto asks.

    >>> import geto
    >>> fleet, task = geto.Fleet(hosts=["local"]), geto.Task(geto.Script.from_argv(["true"]))
    >>> try:
    ...     results = fleet.run(task)
    ... except geto.HostError as error:
    ...     print(error.host, error.hint)
    """


class NotStartedError(GetoError):
    """The task was not started: it is safe to run it again.

    >>> import geto
    >>> fleet, task = geto.Fleet(hosts=["local"]), geto.Task(geto.Script.from_argv(["true"]))
    >>> try:
    ...     results = fleet.run(task)
    ... except geto.NotStartedError as error:
    ...     results = fleet.run(task)
    """


class FullError(NotStartedError):
    """No slot came free in time, and the task was not started.

    >>> import geto
    >>> fleet, task = geto.Fleet(hosts=["local"]), geto.Task(geto.Script.from_argv(["true"]))
    >>> try:
    ...     results = fleet.run(task)
    ... except geto.FullError as error:
    ...     print(f"{error.host} is full")
    """


class TaskCancelledError(GetoError):
    """The task was ended before it was started.

    >>> import geto
    >>> fleet, task = geto.Fleet(hosts=["local"]), geto.Task(geto.Script.from_argv(["true"]))
    >>> future = fleet.submit(task)
    >>> future.kill()
    >>> try:
    ...     kind = future.result().outcome.kind
    ... except geto.TaskCancelledError:
    ...     kind = "cancelled"
    >>> kind in ("cancelled", "exited")
    True
    """


class LostError(GetoError):
    """The task was started, and how it ended is not known here.

    >>> import geto
    >>> fleet, task = geto.Fleet(hosts=["local"]), geto.Task(geto.Script.from_argv(["true"]))
    >>> try:
    ...     results = fleet.run(task)
    ... except geto.LostError as error:
    ...     print(error.host, error.task_id)  # where to look
    """


class ResultsError(GetoError):
    """The task ended, and its results could not be brought home whole; the host keeps them.

    >>> import geto
    >>> fleet, task = geto.Fleet(hosts=["local"]), geto.Task(geto.Script.from_argv(["true"]))
    >>> try:
    ...     results = fleet.run(task, into="here")
    ... except geto.ResultsError as error:
    ...     results = fleet.fetch(error.task_id, into="elsewhere")
    """


class LocalError(GetoError, OSError):
    """Something on this machine failed: a file, a directory, a process.

    >>> import geto
    >>> fleet, task = geto.Fleet(hosts=["local"]), geto.Task(geto.Script.from_argv(["true"]))
    >>> try:
    ...     results = fleet.run(task)
    ... except geto.LocalError as error:
    ...     print(error.hint)
    """

    def __init__(self, message: str, **details: Any) -> None:
        GetoError.__init__(self, message, **details)


class ForkedError(GetoError, RuntimeError):
    """This process was forked from one whose engine ran, and can't go on with it.

    >>> import geto, multiprocessing
    >>> context = multiprocessing.get_context("spawn")
    >>> isinstance(geto.ForkedError(), geto.GetoError)
    True
    """

    def __init__(self) -> None:
        super().__init__(
            "this process was forked from one that has run tasks: its engine is not here",
            hint="start processes by `spawn`, or fork before the first task runs",
        )


class RemoteError(GetoError):
    """A host could not run a Python function: no python3, or one of another version.

    >>> import geto
    >>> with geto.Executor(geto.Fleet(hosts=["local"]), python="python-none") as executor:
    ...     try:
    ...         executor.submit(int).result()
    ...     except geto.RemoteError as error:
    ...         print(error)
    there is no `python-none` on host `local`
    """


class TaskFailed(GetoError):
    """A task ended otherwise than with exit code 0; :meth:`Results.check` raises it.

    It has what :class:`subprocess.CalledProcessError` has.

    >>> import geto
    >>> task = geto.Task(geto.Script.from_commands("fail", ["echo no >&2", "exit 3"]))
    >>> try:
    ...     geto.Fleet(hosts=["local"]).run(task).check()
    ... except geto.TaskFailed as error:
    ...     print(error, error.returncode, error.stderr)
    task `fail` on host `local` exited with code 3 3 b'no\\n'
    """

    #: What the task brought home.
    results: Results

    def __init__(self, results: Results) -> None:
        message = f"task `{results.script}` on host `{results.host}` {results.outcome.text}"
        super().__init__(message, host=results.host, task_id=results.task_id)
        self.results = results

    @property
    def returncode(self) -> Optional[int]:
        """As :attr:`Results.returncode`."""
        return self.results.returncode

    @property
    def exit_code(self) -> int:
        """As :attr:`Results.exit_code`."""
        return self.results.exit_code

    @property
    def stdout(self) -> bytes:
        """As :attr:`Results.stdout`."""
        return self.results.stdout

    #: As in :mod:`subprocess`.
    output = stdout

    @property
    def stderr(self) -> bytes:
        """As :attr:`Results.stderr`."""
        return self.results.stderr


_KINDS: dict[str, type[GetoError]] = {
    "usage": UsageError,
    "unreachable": UnreachableError,
    "host-key": HostKeyError,
    "authentication": AuthenticationError,
    "host": HostError,
    "not-started": NotStartedError,
    "full": FullError,
    "cancelled": TaskCancelledError,
    "lost": LostError,
    "results": ResultsError,
    "local": LocalError,
}


def _restore(kind: type[GetoError], args: tuple[Any, ...], state: dict[str, Any]) -> GetoError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


def error_of(told: dict[str, Any]) -> GetoError:
    """Makes an exception of what the engine told."""
    message = ": ".join([told["message"], *told["causes"]])
    kind = _KINDS.get(told["kind"], GetoError)
    return kind(message, host=told["host"], hint=told["hint"], task_id=told["task"])
