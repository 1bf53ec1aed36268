"""Many tasks at once."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Generator, Iterator
from typing import Any, Optional

from . import _geto
from .errors import ForkedError, GetoError, error_of
from .results import Results, results_of

_Told = tuple[Optional[int], Any, Optional[dict[str, Any]]]


def feed(
    feeder: _geto.Feeder,
    orders: Iterator[tuple[_geto.Task, Optional[str]]],
    failures: list[BaseException],
) -> None:
    """Gives tasks to the engine as it wants them, on a thread of their own.

    An iterator may wait for whatever it likes; the end of the interpreter does not wait for that.
    """

    def run() -> None:
        try:
            for task, into in orders:
                if not feeder.put(task, into):
                    break
        except BaseException as failure:
            failures.append(failure)
            feeder.fail(repr(failure))
        finally:
            feeder.end()

    threading.Thread(target=run, name="geto-tasks", daemon=True).start()


class Batch:
    """Tasks that run over all hosts; what comes of them is taken as they complete."""

    def __init__(
        self,
        fleet: _geto.Fleet,
        orders: Iterator[tuple[_geto.Task, Optional[str]]],
        *,
        per_host: Optional[int],
        overwrite: bool,
    ) -> None:
        self._told: queue.SimpleQueue[_Told] = queue.SimpleQueue()
        self._over = False
        self._process = os.getpid()
        #: What went wrong with the iterator of tasks itself.
        self._failure: list[BaseException] = []
        started = fleet.map(
            overwrite=overwrite,
            per_host=per_host,
            claim=None,
            tell=self._tell,
            done=lambda value, error: self._told.put((None, value, error)),
        )
        self._interrupter = None if started is None else started[1]
        if started is not None:
            feed(started[0], orders, self._failure)

    def _tell(self, kind: str, number: int, value: Any) -> None:
        if kind == "done":
            self._told.put((number, *value))

    def _numbered(self) -> Iterator[tuple[int, Any, Optional[dict[str, Any]]]]:
        try:
            while True:
                if self._process != os.getpid():
                    raise ForkedError()
                number, results, error = self._told.get()
                if number is None:
                    self._over = True
                    if self._failure:
                        raise self._failure[0]
                    if error is not None:
                        raise error_of(error)
                    return
                yield number, results, error
        finally:
            self.end()

    def end(self) -> None:
        """Starts no more tasks, ends those that run, and waits until they have ended."""
        if self._over or self._interrupter is None or self._process != os.getpid():
            return
        self._interrupter.interrupt()
        self._interrupter.interrupt()
        # An interpreter that ends hears nothing any more.
        while not sys.is_finalizing() and self._told.get()[0] is not None:
            pass
        self._over = True

    def as_completed(self) -> Taken:
        """Gives results as they come."""
        return Taken(self, self._as_completed())

    def in_order(self) -> Taken:
        """Gives results in the order of the tasks."""
        return Taken(self, self._in_order())

    def _as_completed(self) -> Generator[Results, None, None]:
        for _, results, error in self._numbered():
            yield _result(results, error)

    def _in_order(self) -> Generator[Results, None, None]:
        waiting: dict[int, tuple[Any, Optional[dict[str, Any]]]] = {}
        expected = 0
        for number, results, error in self._numbered():
            waiting[number] = (results, error)
            while expected in waiting:
                yield _result(*waiting.pop(expected))
                expected += 1


class Taken(Iterator[Results]):
    """The results of a batch. Who closes it or lets go of it, begun or not, ends what runs."""

    def __init__(self, batch: Batch, results: Generator[Results, None, None]) -> None:
        self._batch = batch
        self._results = results

    def __next__(self) -> Results:
        return next(self._results)

    def close(self) -> None:
        """Starts no more tasks, and ends those that run."""
        try:
            self._results.close()
        except ValueError:
            # Another thread waits for the next one, which is the last then.
            pass
        finally:
            self._batch.end()

    def __del__(self) -> None:
        self.close()


def _result(results: Any, error: Optional[dict[str, Any]]) -> Results:
    if error is not None:
        raise error_of(error)
    if results is None:
        raise GetoError("the task was not started")
    return results_of(results)
