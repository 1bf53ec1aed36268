"""Python functions on hosts, in the shape of :mod:`concurrent.futures`."""

from __future__ import annotations

import atexit
import codecs
import concurrent.futures
import hashlib
import io
import os
import queue
import shutil
import sys
import tempfile
import threading
import weakref
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Optional, TypeVar, Union

import cloudpickle

from . import _geto
from .batch import feed
from .errors import ForkedError, GetoError, RemoteError, error_of
from .fleet import Fleet
from .future import fail_in_forks
from .results import Results, results_of
from .task import Dependency, Script, Task, Text
from .workers import Workers, show

T = TypeVar("T")

_SCRIPT = """#!/bin/sh
command -v "$1" >/dev/null 2>&1 || { echo missing >geto-result; exit 0; }
exec "$1" -u -c 'import sys
b = getattr(sys.stdin, "buffer", sys.stdin)
exec(compile(b.read(int(b.readline())), "geto-worker", "exec"))'
"""

#: From this size on, in bytes, an argument travels as a dependency, which hosts keep.
_LARGE = 64 << 10

# Registering a module by value is for the whole process.
_by_value = threading.Lock()


_living: weakref.WeakSet[Executor] = weakref.WeakSet()


class RemoteTraceback(Exception):
    """Where on its host a function failed; the cause of what it raised."""

    def __str__(self) -> str:
        return "\n" + str(self.args[0])


class Executor(concurrent.futures.Executor):
    """Runs Python functions on the hosts of a fleet.

    Functions, arguments and results travel by cloudpickle, which is sent along: hosts need a Python of
    this version, called ``python`` there, and nothing else. Functions of ``modules`` are sent with
    their code; others are imported on the host. What a function prints is written to ``sys.stdout`` and
    ``sys.stderr`` here; what it raises comes with the traceback of its host. ``max_concurrent`` limits how
    many run on each host at once, its slots by default.

    With ``reuse_workers`` a Python on a host takes one call after another, so that what one imports is
    there for the next, and ``initializer`` is called once in each. It is a task of its own, which holds a
    slot from its first call to 10 s after its last. A call is made at most once: one whose worker ended
    before it took it goes to another; one whose worker ended under it fails. Without it, and for
    calls with arguments of 64 KiB or more, which hosts keep and are sent to each once, a call is a task
    of its own in a Python of its own.

    >>> import geto, sys
    >>> with geto.Executor(geto.Fleet(hosts=["local"]), python=sys.executable) as executor:
    ...     list(executor.map(pow, [2, 3], [3, 2]))
    [8, 9]
    """

    def __init__(
        self,
        fleet: Fleet,
        python: str = "python3",
        modules: Iterable[ModuleType] = (),
        env: Optional[Mapping[str, Text]] = None,
        initializer: Optional[Callable[[], object]] = None,
        dependencies: Iterable[Dependency] = (),
        max_concurrent: Optional[int] = None,
        reuse_workers: bool = True,
    ) -> None:
        self._fleet = fleet
        self._python = python
        self._modules = list(modules)
        self._env = env
        self._initializer = initializer
        self._dependencies = list(dependencies)
        self._max_concurrent = max_concurrent
        self._script = Script("geto-python", _SCRIPT.encode(), max_concurrent=max_concurrent)
        self._preamble: Optional[bytes] = None
        self._reuse_workers = reuse_workers
        self._workers: Optional[Workers] = None
        self._place: Optional[tempfile.TemporaryDirectory[str]] = None
        self._calls: queue.SimpleQueue[Optional[tuple[_Call, bytes, list[Dependency]]]] = (
            queue.SimpleQueue()
        )
        self._futures: dict[int, _Call] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._shut = False
        self._started = False
        self._process = os.getpid()
        self._decoders: dict[tuple[str, int], codecs.IncrementalDecoder] = {}

    @property
    def fleet(self) -> Fleet:
        """The fleet whose hosts run the functions.

        >>> import geto
        >>> fleet = geto.Fleet(hosts=["local"])
        >>> geto.Executor(fleet).fleet is fleet
        True
        """
        return self._fleet

    def submit(
        self, fn: Callable[..., T], /, *args: Any, **kwargs: Any
    ) -> concurrent.futures.Future[T]:
        """Calls a function on one of the hosts, and returns its future.

        >>> import geto, sys
        >>> with geto.Executor(geto.Fleet(hosts=["local"]), python=sys.executable) as executor:
        ...     executor.submit(lambda name: f"hello {name}", "world").result()
        'hello world'
        """
        if self._process != os.getpid():
            raise ForkedError()
        future: _Call = _Call()
        with self._lock:
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            try:
                call, large = self._call(fn, args, kwargs)
            except Exception as error:
                future.set_exception(error)
                return future
            _living.add(self)
            if self._reuse_workers and not large:
                if self._workers is None:
                    self._workers = Workers(
                        self._fleet._native, self._worker, self._settle, self._explain
                    )
                self._workers.submit(future, call)
                return future
            if self._workers is not None:
                self._workers.rest()
            if not self._started:
                self._start()
            self._calls.put((future, self._input(call), large))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more functions, and waits for those that were given unless told not to.

        >>> import geto, sys
        >>> executor = geto.Executor(geto.Fleet(hosts=["local"]), python=sys.executable)
        >>> future = executor.submit(pow, 2, 3)
        >>> executor.shutdown()
        >>> future.done()
        True
        """
        with self._lock:
            if not self._shut:
                self._shut = True
                self._calls.put(None)
                if self._workers is not None:
                    self._workers.close()
        if cancel_futures:
            for future in list(self._futures.values()):
                future.cancel()
                future.settle()
            self._cancel_queued()
            if self._workers is not None:
                self._workers.cancel()
        if not wait or self._process != os.getpid():
            # In a child of a fork they are the parent's, and nobody would say that they are over.
            return
        if self._started:
            self._over.wait()
        if self._workers is not None:
            self._workers.over.wait()

    def _cancel_queued(self) -> None:
        while True:
            try:
                taken = self._calls.get_nowait()
            except queue.Empty:
                break
            if taken is not None:
                taken[0].cancel()
                taken[0].settle()
        self._calls.put(None)

    def _start(self) -> None:
        started = self._fleet._native.map(
            overwrite=False,
            per_host=self._max_concurrent,
            claim=self._claim,
            tell=self._tell,
            done=self._done,
        )
        self._started = True
        if started is not None:
            feed(started[0], self._orders(), [])

    def _call(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[bytes, list[Dependency]]:
        """Returns a call as it is sent, and its large arguments, which hosts keep as dependencies."""
        places: list[Any] = list(args)
        large: list[Dependency] = []
        stored: list[tuple[Union[int, str], str]] = []
        with _by_value:
            known = cloudpickle.list_registry_pickle_by_value()
            added = [module for module in self._modules if module.__name__ not in known]
            for module in added:
                cloudpickle.register_pickle_by_value(module)
            try:
                given: list[tuple[Union[int, str], Any]] = [*enumerate(args), *kwargs.items()]
                for key, value in given:
                    if max(sys.getsizeof(value), getattr(value, "nbytes", 0)) < _LARGE:
                        continue
                    path = self._store(cloudpickle.dumps(value))
                    large.append((str(path), path.name))
                    stored.append((key, path.name))
                    if isinstance(key, int):
                        places[key] = None
                    else:
                        kwargs[key] = None
                if self._preamble is None:
                    initializer = cloudpickle.dumps(self._initializer)
                    self._preamble = _preamble() + b"%d\n" % len(initializer) + initializer
                return cloudpickle.dumps((fn, places, kwargs, stored)), large
            finally:
                for module in added:
                    cloudpickle.unregister_pickle_by_value(module)

    def _input(self, call: bytes) -> bytes:
        """What a Python reads: all that it needs, and a call, or none to wait for one after another."""
        assert self._preamble is not None
        return self._preamble + call

    def _worker(self) -> _geto.Task:
        """Makes the task of a worker."""
        task = _CallTask(
            self._script, [self._python], self._dependencies, self._env, self._input(b"")
        )
        return task.native()

    def _store(self, pickled: bytes) -> Path:
        if self._place is None:
            self._place = tempfile.TemporaryDirectory(prefix="geto-")
        path = Path(self._place.name, "geto-" + hashlib.sha256(pickled).hexdigest())
        if not path.exists():
            # What is at its place is whole.
            part = path.with_suffix(".part")
            part.write_bytes(pickled)
            part.replace(path)
        return path

    def _orders(self) -> Iterator[tuple[_geto.Task, Optional[str]]]:
        number = 0
        while (taken := self._calls.get()) is not None:
            future, payload, large = taken
            self._futures[number] = future
            number += 1
            task = _CallTask(
                self._script, [self._python], [*self._dependencies, *large], self._env, payload
            )
            yield task.native(), None

    def _claim(self, number: int) -> bool:
        return self._futures[number].begin()

    def _tell(self, kind: str, number: int, value: Any) -> None:
        if kind != "done":
            self._print(kind, number, value)
            return
        for kind in ("stdout", "stderr"):
            self._print(kind, number, b"", final=True)
            self._decoders.pop((kind, number), None)
        future = self._futures.pop(number)
        if future.done():
            # It was cancelled in time.
            future.settle()
            return
        try:
            results, error = value
            if error is not None:
                raise error_of(error)
            if results is None:
                raise GetoError("the function was not started")
            self._answer(future, results_of(results))
        except BaseException as failure:
            future.fail(failure)

    def _print(self, kind: str, number: int, piece: bytes, final: bool = False) -> None:
        # A character may come in two pieces.
        decoder = self._decoders.setdefault(
            (kind, number), codecs.getincrementaldecoder("utf-8")(errors="replace")
        )
        show(kind, decoder.decode(piece, final))

    def _answer(self, future: _Call, results: Results) -> None:
        file = None if results.files is None else results.files / "geto-result"
        if file is None or not file.exists():
            raise self._explain(results)
        kind, _, value = file.read_bytes().partition(b"\n")
        if kind not in (b"value", b"error"):
            raise self._explain(results)
        shutil.rmtree(results.directory, ignore_errors=True)
        self._settle(future, kind, value, results.host)

    def _settle(self, future: _Call, kind: bytes, value: bytes, host: str) -> None:
        """Tells what a function came to."""
        try:
            told = cloudpickle.loads(value)
        except Exception as failure:
            future.fail(failure)
            return
        if kind.startswith(b"v"):
            future.set_result(told)
            return
        error, trace = told
        error.__cause__ = RemoteTraceback(trace)
        future.fail(error)

    def _explain(self, results: Results) -> RemoteError:
        """Says why there is no answer."""
        host = results.host
        file = None if results.files is None else results.files / "geto-result"
        kind, _, value = (
            file.read_bytes() if file is not None and file.exists() else b""
        ).partition(b"\n")
        if kind == b"missing":
            return RemoteError(
                f"there is no `{self._python}` on host `{host}`",
                host=host,
                hint="install Python there, or say where it is: Executor(python=...)",
            )
        if kind == b"version":
            own = ".".join(map(str, sys.version_info[:2]))
            return RemoteError(
                f"host `{host}` has Python {value.decode()}, and this is Python {own}:"
                " functions can't travel between them",
                host=host,
                hint=f"name a Python {own} of the host: Executor(python='python{own}')",
            )
        tail = results.stderr[-2000:].decode(errors="replace").strip()
        text = f"the function left no answer on host `{host}`: it {results.outcome.text}"
        return RemoteError(f"{text}\n{tail}" if tail else text, host=host)

    def _done(self, value: Any, error: Optional[dict[str, Any]]) -> None:
        failure = GetoError("the executor has ended") if error is None else error_of(error)
        for future in list(self._futures.values()):
            future.fail(failure)
        self._futures.clear()
        self._over.set()


class _Call(concurrent.futures.Future[Any]):
    """The future of one call."""

    def __init__(self) -> None:
        super().__init__()
        fail_in_forks(self)

    def begin(self) -> bool:
        """Takes it from those who may cancel it; False when one of them was faster."""
        with self._condition:
            self.settle()
            return self.running() or (
                not self.done() and self.set_running_or_notify_cancel()
            )

    def settle(self) -> None:
        """Tells whoever waits that it was cancelled."""
        with self._condition:
            if self._state == "CANCELLED":
                self.set_running_or_notify_cancel()

    def fail(self, failure: BaseException) -> None:
        """Ends it with a failure, unless it has ended."""
        if self.done():
            self.settle()
        else:
            self.set_exception(failure)


class _CallTask(Task):
    """A task whose input is a call, or that is a worker; it brings nothing home but the answer."""

    def __init__(
        self,
        script: Script,
        args: list[str],
        dependencies: list[Dependency],
        env: Optional[Mapping[str, Text]],
        payload: bytes,
    ) -> None:
        super().__init__(script, args, dependencies, env, stdin=payload)

    def native(self, bring: Union[None, Iterable[str]] = None) -> _geto.Task:
        return super().native(["geto-result", "geto-taken"])


def _preamble() -> bytes:
    """What a Python reads first: the worker, the version, and cloudpickle."""
    worker = Path(__file__).with_name("_worker.py").read_bytes()
    place = Path(cloudpickle.__file__).parent
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(place.glob("*.py")):
            archive.write(file, f"cloudpickle/{file.name}")
    version = ".".join(map(str, sys.version_info[:2]))
    package = packed.getvalue()
    head = b"%d\n%b%b\n%d\n" % (len(worker), worker, version.encode(), len(package))
    return head + package


def _finish() -> None:
    """Waits at the end of the interpreter for what was given, as other executors do."""
    for executor in list(_living):
        executor.shutdown()


atexit.register(_finish)
