"""The engine of geto; use the package `geto`."""

from collections.abc import Callable
from typing import Any, Optional, final

__all__ = ["Channel", "Feeder", "Fleet", "Handle", "Interrupter", "Task", "close"]

_Done = Callable[[Any, Any], object]

def close() -> None: ...
@final
class Task:
    def __new__(cls, parts: Any) -> Task: ...

@final
class Handle:
    def __new__(cls) -> Handle: ...
    @property
    def task_id(self) -> Optional[str]: ...
    @property
    def is_used(self) -> bool: ...
    def kill(self) -> None: ...

@final
class Feeder:
    def put(self, task: Task, into: Optional[str]) -> bool: ...
    def fail(self, reason: str) -> None: ...
    def end(self) -> None: ...

@final
class Interrupter:
    def interrupt(self) -> None: ...

@final
class Channel:
    def write(self, bytes: bytes) -> None: ...
    def close(self) -> None: ...

@final
class Fleet:
    @staticmethod
    def open(
        config: Optional[str],
        hosts: Optional[list[str]],
        ask: Optional[Callable[[str, bool], Optional[str]]],
    ) -> tuple[Optional[Fleet], Optional[dict[str, Any]]]: ...
    def hosts(self) -> list[dict[str, Any]]: ...
    def run(
        self,
        task: Task,
        *,
        host: Optional[str],
        pick: str,
        into: Optional[str],
        overwrite: bool,
        detach: bool,
        follow: Optional[Callable[[str, Any], object]],
        handle: Handle,
        done: _Done,
    ) -> None: ...
    def run_each(self, task: Task, into: Optional[str], handle: Handle, done: _Done) -> None: ...
    def tasks(self, host: str, done: _Done) -> None: ...
    def attach(
        self,
        task_id: str,
        host: str,
        *,
        so_far: bool,
        kill: bool,
        into: Optional[str],
        overwrite: bool,
        keep: bool,
        bring: Optional[list[str]],
        follow: Optional[Callable[[str, Any], object]],
        handle: Handle,
        done: _Done,
    ) -> None: ...
    def remove(self, task_id: str, host: str, done: _Done) -> None: ...
    def channel(
        self, host: str, command: str, told: Callable[[bytes], object], done: _Done
    ) -> Channel: ...
    def map(
        self,
        *,
        overwrite: bool,
        per_host: Optional[int],
        claim: Optional[Callable[[int], bool]],
        tell: Callable[[str, int, Any], object],
        done: _Done,
    ) -> Optional[tuple[Feeder, Interrupter]]: ...
