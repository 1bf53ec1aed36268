"""A backend for joblib: importing this module registers it as ``geto``.

>>> import sys, geto, geto.joblib, joblib
>>> fleet = geto.Fleet(hosts=["local"])
>>> with joblib.parallel_config("geto", fleet=fleet, python=sys.executable):
...     joblib.Parallel(n_jobs=2)(joblib.delayed(pow)(n, 2) for n in range(4))
[0, 1, 4, 9]
"""

from __future__ import annotations

import concurrent.futures
import sys
from abc import ABCMeta
from typing import Any, Callable, Optional

import joblib
from joblib.parallel import ParallelBackendBase, SequentialBackend

from .executor import Executor
from .fleet import Fleet


def _call_all(items: list[tuple[Callable[..., Any], Any, Any]]) -> list[Any]:
    return [function(*args, **kwargs) for function, args, kwargs in items]


class GetoBackend(ParallelBackendBase, metaclass=ABCMeta):  # type: ignore[misc]
    """Runs the calls of :class:`joblib.Parallel` on the hosts of a fleet.

    ``fleet`` is the one of the configuration by default; the other options are those of
    :class:`geto.Executor`. ``n_jobs=-1`` is as many as the hosts have slots, by the configuration.
    """

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(
        self, fleet: Optional[Fleet] = None, nesting_level: Optional[int] = None, **options: Any
    ) -> None:
        super().__init__(nesting_level=nesting_level)
        self._fleet = fleet if fleet is not None else Fleet()
        options["modules"] = [*options.get("modules", ()), sys.modules[__name__]]
        self._options = options
        self._executor = Executor(self._fleet, **options)

    def effective_n_jobs(self, n_jobs: Optional[int]) -> int:
        """How many calls joblib gives at once."""
        if n_jobs is not None and n_jobs > 0:
            return n_jobs
        return sum(host.slots or 1 for host in self._fleet.hosts)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **options: Any) -> int:
        """Takes what joblib says before its first call."""
        self.parallel = parallel
        return self.effective_n_jobs(n_jobs)

    def submit(
        self, func: Any, callback: Optional[Callable[[Any], object]] = None
    ) -> concurrent.futures.Future[Any]:
        """Starts some calls as one."""
        # What joblib wraps them in would need joblib there.
        future = self._executor.submit(_call_all, func.items)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: concurrent.futures.Future[Any]) -> Any:
        """Returns what some calls came to."""
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Starts no more of what was given."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._executor = Executor(self._fleet, **self._options)

    def terminate(self) -> None:
        """Takes no more for now; what was given is waited for."""
        self._executor.shutdown()
        self._executor = Executor(self._fleet, **self._options)

    def get_nested_backend(self) -> tuple[Any, None]:
        """What calls that use joblib themselves are run by."""
        return SequentialBackend(nesting_level=(self.nesting_level or 0) + 1), None


joblib.register_parallel_backend("geto", GetoBackend)
