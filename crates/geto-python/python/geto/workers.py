"""Pythons on hosts that stay, and take one call after another."""

from __future__ import annotations

import codecs
import collections
import contextlib
import os
import queue
import secrets
import shutil
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

from . import _geto
from .errors import RemoteError, error_of
from .results import Results, results_of

#: Kind, number and length of what goes over a link; those of :mod:`geto._worker`.
_HEAD = struct.Struct(">cQQ")
_SIZES = struct.Struct(">QQ")
#: What a worker says once it can be called, before its Python's path; what its host sets up may print before.
_READY = b"geto-ready "
#: How many workers are on their way to a slot at once.
_STARTING = 4
#: After how many seconds without a call a worker gives its slot back.
_IDLE = 10.0
#: How often an idle worker hears that somebody is there, in seconds; it waits four times as long.
_WORD = 30.0
#: For how many seconds a broken link is made again.
_RECONNECT = 60.0
#: How many seconds a worker has to end when it is told so.
_END = 10.0

#: Login shells of all kinds read it alike. Start-up files may read the empty lines before what is meant.
_COMMAND = (
    "exec /bin/sh -c 'while IFS= read -r d && [ -z \"$d\" ]; do :; done; IFS= read -r p && "
    'cd "$d" && exec "$p" -u -c "import sys; b = sys.stdin.buffer; '
    "exec(b.read(int(b.readline())))\"' geto"
)
_RELAY = Path(__file__).with_name("_relay.py").read_bytes()


class Call:
    """A call that is to be made: its future, and what the worker is sent."""

    def __init__(self, future: Any, payload: bytes) -> None:
        self.future = future
        self.payload = payload
        #: Whether it was given to a worker that ended before it took it.
        self.is_claimed = False
        self.tries = 0


class _Worker:
    """One Python on a host, as far as it is known here; the pool's thread alone changes it."""

    def __init__(self) -> None:
        self.handle = _geto.Handle()
        self.host: Optional[str] = None
        self.directory = ""
        self.python = ""
        self.channel: Optional[_geto.Channel] = None
        self.serial = 0
        self.nonce = b""
        self.is_linked = self.was_linked = False
        #: Since when its link is broken.
        self.broken: Optional[float] = None
        self.retry: Optional[float] = None
        self.buffer = bytearray()
        self.number = 0
        self.call: Optional[Call] = None
        #: An answer that waits for what was printed before it, and how much that is.
        self.held: Optional[tuple[bytes, bytes, tuple[int, int]]] = None
        self.idle = self.word = time.monotonic()
        self.ending: Optional[float] = None
        #: How much it has printed, of stdout and stderr, and what came before it was ready.
        self.seen = [0, 0]
        self.first: Optional[bytearray] = bytearray()
        # A character may come in two pieces.
        decoder = codecs.getincrementaldecoder("utf-8")
        self.decoders = {kind: decoder(errors="replace") for kind in ("stdout", "stderr")}

    def show(self, kind: str, piece: bytes, final: bool = False) -> None:
        """Writes what it has printed to the caller's own."""
        show(kind, self.decoders[kind].decode(piece, final))


def show(kind: str, text: str) -> None:
    """Writes what a function has printed to the caller's own stream. One that takes nothing, or is gone,
    keeps no call from its end."""
    stream = sys.stdout if kind == "stdout" else sys.stderr
    if text and stream is not None:
        with contextlib.suppress(Exception):
            stream.write(text)


class Workers:
    """Starts workers while calls wait, one for each slot that it gets, and gives each a call at a time.

    All is decided on one thread; whatever happens is told to it through a queue.
    """

    def __init__(
        self,
        fleet: _geto.Fleet,
        task: Callable[[], _geto.Task],
        settle: Callable[[Any, bytes, bytes, str], None],
        explain: Callable[[Results], RemoteError],
    ) -> None:
        self._fleet = fleet
        self._task = task
        self._settle = settle
        self._explain = explain
        self._events: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._waiting: collections.deque[Call] = collections.deque()
        self._workers: list[_Worker] = []
        self._is_closing = False
        self.over = threading.Event()
        threading.Thread(target=self._run, name="geto-workers", daemon=True).start()

    def submit(self, future: Any, payload: bytes) -> None:
        """Takes a call."""
        self._events.put(("call", Call(future, payload)))

    def close(self) -> None:
        """Takes no more, and ends workers once all that was taken is done."""
        self._events.put(("close",))

    def cancel(self) -> None:
        """Cancels what no worker has been given."""
        self._events.put(("cancel",))

    def rest(self) -> None:
        """Ends workers that have nothing to do: others need their slots."""
        self._events.put(("rest",))

    def _run(self) -> None:
        while True:
            try:
                event = self._events.get(timeout=1.0 if self._workers else None)
            except queue.Empty:
                event = ("tick",)
            kind, *rest = event
            try:
                getattr(self, "_on_" + kind)(*rest)
                self._give()
                self._keep()
                self._start()
            except Exception as failure:
                self._fail_all(failure)
            if self._is_closing and not self._workers and not self._waiting:
                self.over.set()
                return

    def _on_tick(self) -> None:
        pass

    def _on_call(self, call: Call) -> None:
        self._waiting.append(call)

    def _on_close(self) -> None:
        self._is_closing = True

    def _on_rest(self) -> None:
        for worker in self._workers:
            worker.idle -= _IDLE

    def _on_cancel(self) -> None:
        for call in self._waiting:
            if not call.is_claimed:
                call.future.cancel()
        kept = [call for call in self._waiting if not self._is_cancelled(call)]
        self._waiting = collections.deque(kept)

    @staticmethod
    def _is_cancelled(call: Call) -> bool:
        if call.is_claimed or not call.future.cancelled():
            return False
        # Whoever waits for it is told.
        call.future.settle()
        return True

    def _give(self) -> None:
        """Gives calls to those who have none."""
        for worker in self._workers:
            if not worker.is_linked or worker.call or worker.ending is not None:
                continue
            call = self._next()
            if call is None:
                return
            worker.number += 1
            worker.call = call
            self._send(worker)

    def _next(self) -> Optional[Call]:
        while self._waiting:
            call = self._waiting.popleft()
            if call.is_claimed or call.future.set_running_or_notify_cancel():
                call.is_claimed = True
                return call
        return None

    def _send(self, worker: _Worker) -> None:
        assert worker.channel is not None and worker.call is not None
        payload = worker.call.payload
        worker.channel.write(_HEAD.pack(b"c", worker.number, len(payload)) + payload)

    def _start(self) -> None:
        """Starts workers for calls that wait."""
        while self._waiting and self._is_cancelled(self._waiting[0]):
            self._waiting.popleft()
        coming = sum(
            not worker.is_linked and worker.broken is None and worker.ending is None
            for worker in self._workers
        )
        for _ in range(min(len(self._waiting), _STARTING) - coming):
            self._start_one()

    def _start_one(self) -> None:
        worker = _Worker()
        self._workers.append(worker)
        try:
            self._fleet.run(
                self._task(),
                host=None,
                pick="balanced",
                into=None,
                overwrite=False,
                detach=False,
                follow=self._follower(worker),
                handle=worker.handle,
                done=lambda value, error: self._events.put(("ended", worker, value, error)),
            )
        except Exception:
            self._workers.remove(worker)
            raise

    def _follower(self, worker: _Worker) -> Callable[[str, Any], None]:
        """Hears what a worker's task prints, on a thread of the engine, and passes it on."""

        def follow(kind: str, value: Any) -> None:
            if kind == "started":
                self._events.put(("started", worker, value[1], value[2]))
            elif kind in ("stdout", "stderr"):
                worker.seen[kind == "stderr"] += len(value)
                if kind == "stdout" and worker.first is not None:
                    worker.first += value
                    before, _, rest = bytes(worker.first).partition(_READY)
                    python, end, rest = rest.partition(b"\n")
                    if not end:
                        return
                    worker.first, value = None, before + rest
                    self._events.put(("ready", worker, os.fsdecode(python)))
                try:
                    worker.show(kind, value)
                finally:
                    # Who waits for it is not to hang because it could not be written.
                    self._events.put(("printed", worker))

        return follow

    def _on_started(self, worker: _Worker, host: str, directory: str) -> None:
        worker.host, worker.directory = host, directory

    def _on_ready(self, worker: _Worker, python: str) -> None:
        worker.python = python
        self._link(worker)

    def _link(self, worker: _Worker) -> None:
        assert worker.host is not None
        worker.serial += 1
        worker.retry = None
        serial = worker.serial
        worker.nonce = b"\0" + secrets.token_hex(16).encode()
        worker.buffer.clear()
        worker.channel = self._fleet.channel(
            worker.host,
            _COMMAND,
            lambda data: self._events.put(("heard", worker, serial, data)),
            lambda value, error: self._events.put(("gone", worker, serial)),
        )
        relay = b"NONCE = %r\n" % worker.nonce + _RELAY
        head = os.fsencode(f"{worker.directory}\n{worker.python}\n{len(relay)}\n")
        worker.channel.write(b"\n" * 8 + head + relay)

    def _on_heard(self, worker: _Worker, serial: int, data: bytes) -> None:
        if serial != worker.serial:
            return
        worker.buffer += data
        if worker.nonce:
            noise, nonce, rest = bytes(worker.buffer).partition(worker.nonce)
            if not nonce:
                return
            worker.buffer = bytearray(rest)
            worker.nonce = b""
            worker.is_linked = worker.was_linked = True
            worker.broken = None
            worker.idle = worker.word = time.monotonic()
            if worker.call is not None:
                # It may be there already: then only its answer comes again.
                self._send(worker)
        for kind, number, value in _frames(worker.buffer):
            if worker.call is not None and number == worker.number:
                worker.held = (kind, value[_SIZES.size :], _SIZES.unpack_from(value))
        self._on_printed(worker)

    def _on_printed(self, worker: _Worker) -> None:
        """Passes on an answer once all is here that was printed before it."""
        if worker.held is None or worker.call is None:
            return
        kind, value, sizes = worker.held
        if any(seen < size for seen, size in zip(worker.seen, sizes)):
            return
        call, worker.held, worker.call = worker.call, None, None
        worker.idle = time.monotonic()
        self._settle(call.future, kind, value, worker.host or "")

    def _on_gone(self, worker: _Worker, serial: int) -> None:
        if serial != worker.serial or worker not in self._workers or worker.ending is not None:
            return
        now = time.monotonic()
        worker.is_linked, worker.channel = False, None
        worker.broken = now if worker.broken is None else worker.broken
        worker.retry = now + 1.0

    def _on_ended(self, worker: _Worker, value: Any, error: Optional[dict[str, Any]]) -> None:
        self._workers.remove(worker)
        for stream in worker.decoders:
            worker.show(stream, b"", final=True)
        if worker.channel is not None:
            worker.channel.close()
        call = worker.call
        try:
            results = None if error is not None else results_of(value)
            taken = _taken(results)
            failure = error_of(error or {}) if results is None else self._explain(results)
        except Exception as unread:
            # Whether the call was taken is not known.
            if call is not None:
                call.future.fail(unread)
            return
        if results is not None:
            shutil.rmtree(results.directory, ignore_errors=True)
        if call is not None:
            if worker.held is not None and results is not None:
                # It has answered; what it printed has come with its results.
                kind, answer, _ = worker.held
                self._settle(call.future, kind, answer, results.host)
            elif results is not None and taken != worker.number and call.tries < 3:
                call.tries += 1
                self._waiting.appendleft(call)
            else:
                call.future.fail(failure)
        elif not worker.was_linked and worker.ending is None:
            # One call is told why, so that it does not go on for ever.
            unlucky = self._next()
            if unlucky is not None:
                unlucky.future.fail(failure)

    def _keep(self) -> None:
        """Ends workers that nobody needs, makes links again, and tells the others that somebody is there."""
        now = time.monotonic()
        for worker in self._workers:
            if worker.ending is not None:
                if now - worker.ending > _END:
                    worker.handle.kill()
            elif worker.broken is not None:
                if now - worker.broken > _RECONNECT:
                    worker.ending = now
                    worker.handle.kill()
                elif worker.retry is not None and now > worker.retry:
                    self._link(worker)
            elif not self._waiting and worker.call is None:
                if self._is_closing or now - worker.idle > _IDLE:
                    self._end(worker, now)
            if worker.is_linked and worker.call is None and now - worker.word > _WORD:
                worker.word = now
                if worker.channel is not None:
                    worker.channel.write(_HEAD.pack(b"w", 0, 0))

    @staticmethod
    def _end(worker: _Worker, now: float) -> None:
        worker.ending = now
        if worker.is_linked and worker.channel is not None:
            worker.channel.write(_HEAD.pack(b"e", 0, 0))
        else:
            # It waits for a slot, or is about to come.
            worker.handle.kill()

    def _fail_all(self, failure: Exception) -> None:
        for call in self._waiting:
            call.future.fail(failure)
        self._waiting.clear()


def _frames(buffer: bytearray) -> Iterator[tuple[bytes, int, bytes]]:
    """Takes whole frames from the beginning of what was read."""
    while len(buffer) >= _HEAD.size:
        kind, number, length = _HEAD.unpack_from(buffer)
        end = _HEAD.size + length
        if len(buffer) < end:
            return
        value = bytes(buffer[_HEAD.size : end])
        del buffer[:end]
        yield kind, number, value


def _taken(results: Optional[Results]) -> int:
    """The number of the last call that a worker has begun."""
    if results is None or results.files is None:
        return 0
    file = results.files / "geto-taken"
    return int(file.read_bytes() or 0) if file.exists() else 0
