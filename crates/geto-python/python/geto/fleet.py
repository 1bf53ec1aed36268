"""All the hosts that this machine knows, and ways to run tasks on them."""

from __future__ import annotations

import asyncio
import codecs
import os
import threading
import weakref
from collections.abc import AsyncIterator, Iterable, Iterator, Sized
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Callable, Optional, TypeVar, Union

from . import _geto
from .batch import Batch
from .errors import GetoError, error_of
from .future import Promise, TaskFuture
from .results import Outcome, Results, outcome_of, results_of
from .task import PathLike, Task, each_of

#: Answers a question: a password, a passphrase, or whether a host key is right. It is given the question,
#: and whether the answer may be seen while it is typed; it returns ``None`` when it knows no answer.
Ask = Callable[[str, bool], Optional[str]]
#: Takes output as it comes.
Listener = Callable[[bytes], object]
T = TypeVar("T")


@dataclass(frozen=True)
class Host:
    """A host of a fleet.

    >>> import geto
    >>> (host,) = geto.Fleet(hosts=["local"]).hosts
    >>> host.name, host.slots, host.tags
    ('local', None, ())
    """

    #: The name that it is called by.
    name: str
    #: The name or number that is connected to.
    address: str
    #: The TCP port; ``None`` is left to ssh_config.
    port: Optional[int]
    #: The login user; likewise.
    user: Optional[str]
    #: How many tasks run at once; ``None``: its processors.
    slots: Optional[int]
    #: How many GPUs it has; ``None``: what its own tools say.
    gpus: Optional[int]
    #: Names that select it as ``@tag``.
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Detached:
    """A task that was started and left to its host.

    >>> import geto
    >>> fleet = geto.Fleet(hosts=["local"])
    >>> left = fleet.detach(geto.Task(geto.Script.from_argv(["true"])))
    >>> left.host, left.directory.endswith(f"/tasks/{left.task_id}/dir")
    ('local', True)
    >>> fleet.attach(left).exit_code
    0
    """

    #: The id of the task's instance.
    task_id: str
    #: The name of its host.
    host: str
    #: Its directory there.
    directory: str


@dataclass(frozen=True)
class HostTask:
    """A task that lives on a host: it runs there, waits, or has ended and left its results.

    >>> import geto
    >>> fleet = geto.Fleet(hosts=["local"])
    >>> left = fleet.detach(geto.Task(geto.Script.from_commands("wait", ["sleep 600"])))
    >>> (task,) = [task for task in fleet.tasks() if task.task_id == left.task_id]
    >>> task.script, task.host, task.state, task.outcome
    ('wait', 'local', 'running', None)
    >>> fleet.kill(task)
    >>> fleet.remove(task)
    """

    #: The id of the task's instance.
    task_id: str
    #: The name of its host.
    host: str
    #: The name of its script.
    script: str
    #: How far it has come.
    state: str
    #: How it ended, if it has.
    outcome: Optional[Outcome]
    #: When its script was started: seconds since 1970.
    started: Optional[float]
    #: How long it has run.
    run_time: Optional[timedelta]
    #: Who sent it, as ``user@host``.
    origin: str


#: A task that was started before.
Known = Union[str, Detached, HostTask]


class Fleet:
    """The hosts that tasks run on.

    Without arguments it is that of the first geto.ini that the program ``geto`` would read, or this
    machine (``local``) where there is none. ``hosts`` are names of it, globs, ``@tag``, ``Host``
    aliases of ssh_config, ``user@address:port``, or ``local``. Connections are kept until the fleet
    is gone. As a context manager it waits at the end for what was submitted.

    Nobody is asked for passwords and passphrases, unless by ``ask``: a login that needs one fails, and says
    so. It is called from a thread of the engine, for one question at a time:
    ``ask=lambda question, echo: getpass.getpass(question)``.

    >>> import geto
    >>> with geto.Fleet(hosts=["local"]) as fleet:
    ...     print([host.name for host in fleet.hosts])
    ['local']
    """

    def __init__(
        self,
        hosts: Optional[Iterable[str]] = None,
        *,
        config: Optional[PathLike] = None,
        ask: Optional[Ask] = None,
    ) -> None:
        if isinstance(hosts, str):
            hosts = [hosts]
        words = None if hosts is None else list(hosts)
        path = None if config is None else os.fspath(config)
        native, error = _geto.Fleet.open(path, words, ask)
        if native is None:
            raise error_of(error or {})
        self._native = native
        self._submitted: weakref.WeakSet[TaskFuture] = weakref.WeakSet()

    @classmethod
    def from_config(cls, path: PathLike, *, ask: Optional[Ask] = None) -> Fleet:
        """Reads a geto.ini; ``ask`` as above.

        Raises :class:`UsageError` that names file, line, section and key.

        >>> import geto, pathlib
        >>> path = pathlib.Path("lab.ini")
        >>> _ = path.write_text("[hosts]\\nserver1=10.0.0.10\\nserver2=10.0.0.11\\n")
        >>> [host.name for host in geto.Fleet.from_config(path).hosts]
        ['server1', 'server2']
        """
        return cls(config=path, ask=ask)

    @property
    def hosts(self) -> list[Host]:
        """The hosts, in the order of the configuration.

        >>> import geto
        >>> [host.address for host in geto.Fleet(hosts=["athos@10.0.0.10:2222"]).hosts]
        ['10.0.0.10']
        """
        return [Host(**{**host, "tags": tuple(host["tags"])}) for host in self._native.hosts()]

    def submit(
        self,
        task: Task,
        host: Optional[str] = None,
        pick: str = "balanced",
        into: Optional[PathLike] = None,
        bring: Optional[Iterable[str]] = None,
        on_stdout: Optional[Listener] = None,
        on_stderr: Optional[Listener] = None,
        overwrite: bool = False,
    ) -> TaskFuture:
        """Starts a task, and returns its future.

        It runs on ``host``, or on one that is picked: ``balanced``, ``random`` or ``first``. Its
        files go to ``into``; ``bring`` are patterns of those that come home, all by default.
        ``on_stdout`` and ``on_stderr`` are called with its output as it comes, from a thread of the
        engine, and hold it up while they run.

        >>> import geto
        >>> fleet = geto.Fleet(hosts=["local"])
        >>> script = geto.Script.from_commands("double", ["echo $(($1 * 2))"])
        >>> futures = [fleet.submit(geto.Task(script, args=[str(n)])) for n in range(3)]
        >>> [int(future.result().text) for future in futures]
        [0, 2, 4]
        """
        future = TaskFuture(results_of)
        try:
            self._submit(future, task, host, pick, into, bring, on_stdout, on_stderr, overwrite)
        except KeyboardInterrupt:
            # Nobody has its future.
            future.kill()
            raise
        return future

    def _submit(
        self,
        future: TaskFuture,
        task: Task,
        host: Optional[str],
        pick: str,
        into: Optional[PathLike],
        bring: Optional[Iterable[str]],
        on_stdout: Optional[Listener],
        on_stderr: Optional[Listener],
        overwrite: bool,
    ) -> None:
        listeners = {"stdout": on_stdout, "stderr": on_stderr}

        def follow(kind: str, value: Any) -> None:
            listener = listeners.get(kind)
            if listener is not None:
                listener(value)
            elif kind == "slot":
                future.begun()
            elif kind == "started":
                future.started(value[1])

        self._native.run(
            task.native(bring),
            host=host,
            pick=pick,
            into=None if into is None else os.fspath(into),
            overwrite=overwrite,
            detach=False,
            follow=follow,
            handle=future.handle,
            done=future.told,
        )
        self._submitted.add(future)

    def run(
        self,
        task: Task,
        host: Optional[str] = None,
        pick: str = "balanced",
        into: Optional[PathLike] = None,
        bring: Optional[Iterable[str]] = None,
        on_stdout: Optional[Listener] = None,
        on_stderr: Optional[Listener] = None,
        overwrite: bool = False,
    ) -> Results:
        """Runs a task, and returns what it brought home; see :meth:`submit`.

        A script that fails is no error: see :meth:`Results.check`. Ctrl-C ends the task, and is
        raised once it has ended.

        >>> import geto
        >>> task = geto.Task(geto.Script.from_commands("hello", ["echo hello"]))
        >>> geto.Fleet(hosts=["local"]).run(task).check().text
        'hello\\n'
        """
        future = TaskFuture(results_of)
        failures: list[BaseException] = []

        def guarded(listener: Optional[Listener]) -> Optional[Listener]:
            if listener is None:
                return None

            def listen(chunk: bytes) -> None:
                if failures:
                    return
                try:
                    listener(chunk)
                except BaseException as failure:
                    failures.append(failure)
                    future.kill()

            return listen

        listeners = guarded(on_stdout), guarded(on_stderr)
        results = future.seen_through(
            lambda: self._submit(future, task, host, pick, into, bring, *listeners, overwrite)
        )
        if failures:
            raise failures[0]
        return results

    def run_each(
        self, task: Task, into: Optional[PathLike] = None
    ) -> dict[str, Union[Results, GetoError]]:
        """Runs a task on each host at once, without a slot; what came of it stands by host.

        Files of a host go to a directory of its name in ``into``.

        >>> import geto
        >>> fleet = geto.Fleet(hosts=["local"])
        >>> each = fleet.run_each(geto.Task(geto.Script.from_argv(["echo", "hi"])))
        >>> {host: results.text for host, results in each.items()}
        {'local': 'hi\\n'}
        """

        def convert(told: list[tuple[Any, Any]]) -> dict[str, Union[Results, GetoError]]:
            each: list[Union[Results, GetoError]] = [
                error_of(error) if results is None else results_of(results)
                for results, error in told
            ]
            return {host.name: result for host, result in zip(self.hosts, each)}

        promise = Promise(convert)
        place = None if into is None else os.fspath(into)
        return promise.seen_through(
            lambda: self._native.run_each(task.native(), place, promise.handle, promise.told)
        )

    def map(
        self,
        tasks: Iterable[Task],
        *,
        into: Optional[Callable[[int, Task], PathLike]] = None,
        bring: Optional[Iterable[str]] = None,
        ordered: bool = True,
        per_host: Optional[int] = None,
        overwrite: bool = False,
        progress: bool = False,
    ) -> Iterator[Results]:
        """Runs many tasks over all hosts, and yields what they brought home.

        Tasks are taken from their iterator as hosts have room. Results come in the order of tasks,
        or as tasks complete (``ordered=False``). An error of a task is raised in its place, and ends
        the others. ``into`` tells where the files of a task go, by its number and itself.
        ``progress`` shows a bar by tqdm.

        >>> import geto
        >>> script = geto.Script.from_commands("square", ["echo $(($1 * $1))"])
        >>> tasks = [geto.Task(script, args=[str(n)]) for n in range(3)]
        >>> [results.text.strip() for results in geto.Fleet(hosts=["local"]).map(tasks)]
        ['0', '1', '4']
        """
        patterns = None if bring is None else list(each_of("bring", bring))

        def orders() -> Iterator[tuple[_geto.Task, Optional[str]]]:
            for number, task in enumerate(tasks):
                place = None if into is None else os.fspath(into(number, task))
                yield task.native(patterns), place

        batch = Batch(self._native, orders(), per_host=per_host, overwrite=overwrite)
        results = batch.in_order() if ordered else batch.as_completed()
        if not progress:
            return results
        from tqdm.auto import tqdm

        total = len(tasks) if isinstance(tasks, Sized) else None
        return iter(tqdm(results, total=total))

    async def run_async(
        self,
        task: Task,
        host: Optional[str] = None,
        pick: str = "balanced",
        into: Optional[PathLike] = None,
        bring: Optional[Iterable[str]] = None,
        overwrite: bool = False,
    ) -> Results:
        """Does what :meth:`run` does in a coroutine; cancelling it ends the task.

        >>> import asyncio, geto
        >>> task = geto.Task(geto.Script.from_argv(["echo", "hi"]))
        >>> asyncio.run(geto.Fleet(hosts=["local"]).run_async(task)).text
        'hi\\n'
        """
        future = self.submit(task, host, pick, into, bring, overwrite=overwrite)
        return await _awaited(future)

    async def stream(
        self, task: Task, host: Optional[str] = None, pick: str = "balanced", check: bool = True
    ) -> AsyncIterator[str]:
        """Yields the lines of a task's standard output as they come, without their ends.

        A task that fails raises :class:`TaskFailed` after its last line, unless ``check`` is false.
        Leaving the loop ends the task; a consumer that is slow holds up its link.

        >>> import asyncio, geto
        >>> async def lines():
        ...     task = geto.Task(geto.Script.from_commands("two", ["echo 1", "echo 2"]))
        ...     return [line async for line in geto.Fleet(hosts=["local"]).stream(task)]
        >>> asyncio.run(lines())
        ['1', '2']
        """
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Optional[bytes]] = asyncio.Queue()
        room = threading.Semaphore(16)
        closed = threading.Event()

        def take(chunk: bytes) -> None:
            room.acquire()
            if closed.is_set():
                # Nobody makes room any more: it is left to the next one.
                room.release()
            else:
                loop.call_soon_threadsafe(queue.put_nowait, chunk)

        future = self.submit(task, host, pick, on_stdout=take)
        future.add_done_callback(
            lambda _: None if closed.is_set() else loop.call_soon_threadsafe(queue.put_nowait, None)
        )
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        # A line may come in very many pieces.
        pieces: list[str] = []
        try:
            while (chunk := await queue.get()) is not None:
                room.release()
                piece, *more = decoder.decode(chunk).split("\n")
                pieces.append(piece)
                for piece in more:
                    yield "".join(pieces)
                    pieces = [piece]
            pieces.append(decoder.decode(b"", final=True))
            if rest := "".join(pieces):
                yield rest
            results = await asyncio.wrap_future(future)
            if check:
                results.check()
        finally:
            closed.set()
            if not future.done():
                future.kill()
                # Who waits for room goes on; what it brings is not looked at.
                room.release()
                await asyncio.shield(asyncio.wait([asyncio.wrap_future(future)]))

    def detach(self, task: Task, host: Optional[str] = None, pick: str = "balanced") -> Detached:
        """Starts a task and leaves it to its host, where :meth:`attach` finds it again.

        >>> import geto
        >>> fleet = geto.Fleet(hosts=["local"])
        >>> left = fleet.detach(geto.Task(geto.Script.from_argv(["echo", "done"])))
        >>> fleet.attach(left).text
        'done\\n'
        """
        promise = Promise(lambda told: Detached(*told))
        return promise.seen_through(
            lambda: self._native.run(
                task.native(),
                host=host,
                pick=pick,
                into=None,
                overwrite=False,
                detach=True,
                follow=None,
                handle=promise.handle,
                done=promise.told,
            )
        )

    def tasks(self, host: Optional[str] = None) -> list[HostTask]:
        """Lists the tasks of the login user on a host, or on all; from whatever origin they came.

        The first host that does not answer is raised.

        >>> import geto
        >>> fleet = geto.Fleet(hosts=["local"])
        >>> left = fleet.detach(geto.Task(geto.Script.from_argv(["true"])))
        >>> left.task_id in [task.task_id for task in fleet.tasks()]
        True
        >>> fleet.attach(left).exit_code
        0
        """
        names = [host] if host is not None else [host.name for host in self.hosts]
        promises = []
        for name in names:
            promise = Promise(lambda told: [_host_task(task) for task in told])
            self._native.tasks(name, promise.told)
            promises.append(promise)
        seen: dict[str, HostTask] = {}
        for promise in promises:
            for task in promise.wait():
                seen.setdefault(task.task_id, task)
        return list(seen.values())

    def attach(
        self,
        task: Known,
        host: Optional[str] = None,
        into: Optional[PathLike] = None,
        on_stdout: Optional[Listener] = None,
        on_stderr: Optional[Listener] = None,
        keep: bool = False,
    ) -> Results:
        """Follows a task that was started before to its end, and brings its results home.

        It is then removed from its host, unless ``keep`` is said. Ctrl-C leaves it running.

        >>> import geto
        >>> fleet = geto.Fleet(hosts=["local"])
        >>> left = fleet.detach(geto.Task(geto.Script.from_commands("job", ["echo done"])))
        >>> fleet.attach(left.task_id).text
        'done\\n'
        """
        results: Results = self._attach(
            task, host, into, on_stdout, on_stderr, keep=keep, so_far=False
        )
        return results

    def fetch(
        self,
        task: Known,
        host: Optional[str] = None,
        into: Optional[PathLike] = None,
        bring: Optional[Iterable[str]] = None,
        overwrite: bool = False,
    ) -> Results:
        """Brings home what there is of a task, also while it runs. It stays on its host.

        >>> import geto
        >>> fleet = geto.Fleet(hosts=["local"])
        >>> left = fleet.detach(geto.Task(geto.Script.from_commands("job", ["sleep 600"])))
        >>> fleet.fetch(left).outcome.kind
        'running'
        >>> fleet.kill(left)
        >>> fleet.fetch(left).outcome.kind
        'cancelled'
        >>> fleet.remove(left)
        """
        results: Results = self._attach(
            task, host, into, None, None, keep=True, so_far=True, bring=bring, overwrite=overwrite
        )
        return results

    def kill(self, task: Known, host: Optional[str] = None) -> None:
        """Ends a task that was started before, and waits until it has ended.

        >>> import geto
        >>> fleet = geto.Fleet(hosts=["local"])
        >>> left = fleet.detach(geto.Task(geto.Script.from_commands("job", ["sleep 600"])))
        >>> fleet.kill(left)
        >>> fleet.attach(left).outcome.text
        'cancelled'
        """
        self._attach(task, host, None, None, None, keep=True, so_far=False, kill=True)

    def remove(self, task: Known, host: Optional[str] = None) -> None:
        """Removes a task that does not run from its host, with its results there.

        >>> import geto
        >>> fleet = geto.Fleet(hosts=["local"])
        >>> left = fleet.detach(geto.Task(geto.Script.from_argv(["true"])))
        >>> _ = fleet.attach(left, keep=True)
        >>> fleet.remove(left)
        >>> left.task_id in [task.task_id for task in fleet.tasks()]
        False
        """
        task_id, name = self._find(task, host)
        promise: Promise[None] = Promise(lambda told: None)
        self._native.remove(task_id, name, promise.told)
        promise.wait()

    def _find(self, task: Known, host: Optional[str]) -> tuple[str, str]:
        if not isinstance(task, str):
            return task.task_id, host or task.host
        if host is not None:
            return task, host
        found = [known for known in self.tasks() if known.task_id == task]
        if not found:
            raise error_of(
                {
                    "kind": "usage",
                    "message": f"there is no task `{task}`",
                    "causes": ["no host of the fleet knows it"],
                    "host": None,
                    "task": task,
                    "hint": "`fleet.tasks()` lists the tasks on the hosts",
                }
            )
        return found[0].task_id, found[0].host

    def _attach(
        self,
        task: Known,
        host: Optional[str],
        into: Optional[PathLike],
        on_stdout: Optional[Listener],
        on_stderr: Optional[Listener],
        *,
        keep: bool,
        so_far: bool,
        kill: bool = False,
        bring: Optional[Iterable[str]] = None,
        overwrite: bool = False,
    ) -> Any:
        task_id, name = self._find(task, host)
        promise = Promise(lambda told: None if told is None else results_of(told))
        listeners = {"stdout": on_stdout, "stderr": on_stderr}

        def follow(kind: str, value: Any) -> None:
            listener = listeners.get(kind)
            if listener is not None:
                listener(value)

        self._native.attach(
            task_id,
            name,
            so_far=so_far,
            kill=kill,
            into=None if into is None else os.fspath(into),
            overwrite=overwrite,
            keep=keep,
            bring=None if bring is None else list(each_of("bring", bring)),
            follow=follow if any(listeners.values()) else None,
            handle=promise.handle,
            done=promise.told,
        )
        return promise.result()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        for future in list(self._submitted):
            if kind is not None:
                future.kill()
        for future in list(self._submitted):
            if not future.cancelled():
                future.exception()


def _host_task(told: dict[str, Any]) -> HostTask:
    outcome, run_time = told["outcome"], told["run_time"]
    told["outcome"] = None if outcome is None else outcome_of(outcome)
    told["run_time"] = None if run_time is None else timedelta(seconds=run_time)
    return HostTask(**told)


async def _awaited(future: Promise[T]) -> T:
    """Awaits a future; who is cancelled ends its task, and leaves when it has ended."""
    waiting = asyncio.wrap_future(future)
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        future.kill()
        await asyncio.wait([waiting])
        raise
