"""Runs scripts and functions on other machines as if they ran here.

A :class:`Fleet` is the hosts, a :class:`Task` what is run on them: a :class:`Script` with all that
belongs to one execution of it. What it brings home is :class:`Results`.

>>> import geto
>>> fleet = geto.Fleet(hosts=["local"])
>>> fleet.run(geto.Task(geto.Script.from_commands("hello", ["echo hello"]))).text
'hello\\n'
"""

from .errors import (
    AuthenticationError,
    ForkedError,
    FullError,
    GetoError,
    HostError,
    HostKeyError,
    LocalError,
    LostError,
    NotStartedError,
    RemoteError,
    ResultsError,
    TaskCancelledError,
    TaskFailed,
    UnreachableError,
    UsageError,
)
from .executor import Executor
from .fleet import Detached, Fleet, Host, HostTask
from .future import TaskFuture
from .results import Outcome, Results
from .task import Script, Task

__all__ = [
    "AuthenticationError",
    "Detached",
    "Executor",
    "Fleet",
    "ForkedError",
    "FullError",
    "GetoError",
    "Host",
    "HostError",
    "HostKeyError",
    "HostTask",
    "LocalError",
    "LostError",
    "NotStartedError",
    "Outcome",
    "RemoteError",
    "Results",
    "ResultsError",
    "Script",
    "Task",
    "TaskCancelledError",
    "TaskFailed",
    "TaskFuture",
    "UnreachableError",
    "UsageError",
]
