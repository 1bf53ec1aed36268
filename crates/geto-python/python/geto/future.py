"""Futures of tasks."""

from __future__ import annotations

import atexit
import concurrent.futures
import os
import threading
import weakref
from typing import Any, Callable, Generic, Optional, TypeVar

from . import _geto
from .errors import ForkedError, error_of
from .results import Results

T = TypeVar("T")

_pending: weakref.WeakSet[concurrent.futures.Future[Any]] = weakref.WeakSet()


def fail_in_forks(future: concurrent.futures.Future[Any]) -> None:
    """Lets a future fail in children of a fork, where nobody will ever tell how it ended."""
    _pending.add(future)


class Promise(concurrent.futures.Future[T], Generic[T]):
    """A future of something that the engine does.

    Its result is there once the engine has told it. :meth:`wait` is what synchronous calls do.
    """

    def __init__(self, convert: Callable[[Any], T]) -> None:
        super().__init__()
        self._convert = convert
        self.handle = _geto.Handle()
        self._process = os.getpid()
        fail_in_forks(self)

    def told(self, value: Any, error: Optional[dict[str, Any]]) -> None:
        """Takes what the engine tells at the end."""
        # A cancel must not come between look and step.
        with self._condition:
            if not self.running() and not self.set_running_or_notify_cancel():
                return
        if error is not None:
            self.set_exception(error_of(error))
            return
        try:
            self.set_result(self._convert(value))
        except Exception as failure:
            self.set_exception(failure)

    def begun(self) -> None:
        """Notes that it can't be cancelled any more."""
        with self._condition:
            if self._state == "PENDING":
                self.set_running_or_notify_cancel()

    def kill(self) -> None:
        """Ends the task and all its processes on its host: TERM, then KILL after 10 s.

        >>> import geto
        >>> fleet = geto.Fleet(hosts=["local"])
        >>> future = fleet.submit(geto.Task(geto.Script.from_commands("job", ["sleep 600"])))
        >>> while future.host is None:
        ...     pass
        >>> future.kill()
        >>> future.result().outcome.kind
        'cancelled'
        """
        self.handle.kill()

    def cancel(self) -> bool:
        """Cancels a task that has not begun; False for one that runs or has ended.

        A task that its host lets in at this very moment is ended there at once.

        >>> import geto
        >>> fleet = geto.Fleet(hosts=["local"])
        >>> future = fleet.submit(geto.Task(geto.Script.from_argv(["true"])))
        >>> _ = future.result()
        >>> future.cancel()
        False
        """
        cancelled = super().cancel()
        if cancelled:
            self.kill()
        return cancelled

    def wait(self) -> T:
        """Waits for the result; Ctrl-C ends the task, and is raised when it has ended.

        >>> import geto
        >>> fleet = geto.Fleet(hosts=["local"])
        >>> fleet.submit(geto.Task(geto.Script.from_argv(["echo", "hi"]))).wait().text
        'hi\\n'
        """
        return self.seen_through(lambda: None)

    def seen_through(self, start: Callable[[], object]) -> T:
        """Starts it and waits; Ctrl-C may come at any moment of both."""
        try:
            start()
            return self.result()
        except KeyboardInterrupt:
            self.kill()
            if self.handle.is_used:
                # A second Ctrl-C leaves at once.
                self.exception()
            raise


class TaskFuture(Promise[Results]):
    """The future of a task that was submitted; its result is :class:`Results`.

    >>> import geto
    >>> fleet = geto.Fleet(hosts=["local"])
    >>> future = fleet.submit(geto.Task(geto.Script.from_commands("job", ["echo done"])))
    >>> future.result().text, future.host, future.cancel()
    ('done\\n', 'local', False)
    """

    def __init__(self, convert: Callable[[Any], Results]) -> None:
        super().__init__(convert)
        self._host: Optional[str] = None

    @property
    def task_id(self) -> Optional[str]:
        """The id of the task's instance.

        >>> import geto
        >>> fleet = geto.Fleet(hosts=["local"])
        >>> future = fleet.submit(geto.Task(geto.Script.from_argv(["true"])))
        >>> future.task_id == future.result().task_id
        True
        """
        return self.handle.task_id

    @property
    def host(self) -> Optional[str]:
        """The name of its host, once its script has been started.

        >>> import geto
        >>> fleet = geto.Fleet(hosts=["local"])
        >>> future = fleet.submit(geto.Task(geto.Script.from_argv(["true"])))
        >>> _ = future.result()
        >>> future.host
        'local'
        """
        return self._host

    def started(self, host: str) -> None:
        """Notes where it runs."""
        self._host = host
        self.begun()


def _forked() -> None:
    # Their locks may be held for ever. Whom they were to call is the parent's.
    for future in list(_pending):
        if future._state in ("PENDING", "RUNNING", "CANCELLED"):
            future._condition = threading.Condition()
            future._done_callbacks = []  # type: ignore[attr-defined]
            future._waiters = []
            future._state = "RUNNING"
            future.set_exception(ForkedError())


os.register_at_fork(after_in_child=_forked)

# Tasks that run go on on their hosts, as those of a geto that is killed.
atexit.register(_geto.close)
