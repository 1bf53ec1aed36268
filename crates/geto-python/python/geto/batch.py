"""Many tasks at once."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any, Optional

from . import _geto
from .errors import GetoError, error_of
from .results import Results, results_of

_Told = tuple[Optional[int], Any, Optional[dict[str, Any]]]


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
        self._interrupter = fleet.map(
            orders,
            overwrite=overwrite,
            per_host=per_host,
            claim=None,
            tell=self._tell,
            done=lambda value, error: self._told.put((None, value, error)),
        )

    def _tell(self, kind: str, number: int, value: Any) -> None:
        if kind == "done":
            self._told.put((number, *value))

    def _numbered(self) -> Iterator[tuple[int, Any, Optional[dict[str, Any]]]]:
        try:
            while True:
                number, results, error = self._told.get()
                if number is None:
                    self._over = True
                    if error is not None:
                        raise error_of(error)
                    return
                yield number, results, error
        finally:
            self.end()

    def end(self) -> None:
        """Starts no more tasks, ends those that run, and waits until they have ended."""
        if self._over or self._interrupter is None:
            return
        self._interrupter.interrupt()
        self._interrupter.interrupt()
        while self._told.get()[0] is not None:
            pass
        self._over = True

    def as_completed(self) -> Iterator[Results]:
        """Yields results as they come."""
        for _, results, error in self._numbered():
            yield _result(results, error)

    def in_order(self) -> Iterator[Results]:
        """Yields results in the order of the tasks."""
        waiting: dict[int, tuple[Any, Optional[dict[str, Any]]]] = {}
        expected = 0
        for number, results, error in self._numbered():
            waiting[number] = (results, error)
            while expected in waiting:
                yield _result(*waiting.pop(expected))
                expected += 1


def _result(results: Any, error: Optional[dict[str, Any]]) -> Results:
    if error is not None:
        raise error_of(error)
    if results is None:
        raise GetoError("the task was not started")
    return results_of(results)
