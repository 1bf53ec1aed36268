"""Scripts and tasks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Optional, TypeVar, Union

from . import _geto

_T = TypeVar("_T")

#: A text or bytes, as in :mod:`subprocess`.
Text = Union[str, bytes]
#: Where something is on this machine.
PathLike = Union[str, "os.PathLike[str]"]


def each_of(what: str, given: Iterable[_T]) -> Iterable[_T]:
    """Refuses a single text where several are meant: it would be taken for its characters."""
    if isinstance(given, (str, bytes)):
        raise TypeError(f"`{what}` is one text: write [{given!r}]")
    return given


@dataclass(frozen=True)
class Script:
    """What is executed on a host: a name, a text and a limit.

    Its first line names the interpreter (``#!``); without one it is run by ``/bin/sh``.

    >>> import geto
    >>> script = geto.Script.from_commands("greet", ["echo Hello, $1"], max_concurrent=2)
    >>> geto.Script("greet").command("echo Hello, $1").text == script.text
    True
    """

    #: Instances of one name are counted together.
    name: str
    #: The program text; ``None`` for a file or a command.
    text: Optional[bytes] = b""
    #: The file that holds the text, read when a task is run.
    path: Optional[Path] = None
    #: A command and its first arguments, executed without a shell.
    argv: Optional[list[bytes]] = None
    #: How many instances of this name run at once on a host, over all origins; no limit by default.
    max_concurrent: Optional[int] = None

    @classmethod
    def from_commands(
        cls, name: str, lines: Iterable[Text], max_concurrent: Optional[int] = None
    ) -> Script:
        """Makes a script of lines.

        >>> import geto
        >>> geto.Script.from_commands("job", ["#!/bin/bash", "sleep 15"]).text
        b'#!/bin/bash\\nsleep 15\\n'
        """
        text = b"".join(os.fsencode(line) + b"\n" for line in each_of("lines", lines))
        return cls(name, text, max_concurrent=max_concurrent)

    @classmethod
    def from_path(
        cls, path: PathLike, name: Optional[str] = None, max_concurrent: Optional[int] = None
    ) -> Script:
        """Makes a script of a file; its name is that of the file without suffix.

        >>> import geto
        >>> geto.Script.from_path("jobs/train.py").name
        'train'
        """
        path = Path(path)
        return cls(name or path.stem, None, path, max_concurrent=max_concurrent)

    @classmethod
    def from_argv(
        cls, argv: Iterable[Text], name: Optional[str] = None, max_concurrent: Optional[int] = None
    ) -> Script:
        """Makes a script that executes a command of the host as it stands, without a shell.

        >>> import geto
        >>> script = geto.Script.from_argv(["echo", "$HOME"])
        >>> geto.Fleet(hosts=["local"]).run(geto.Task(script)).text
        '$HOME\\n'
        """
        words = [os.fsencode(word) for word in each_of("argv", argv)]
        name = name or (os.path.basename(os.fsdecode(words[0])) if words else "")
        return cls(name, None, None, words, max_concurrent)

    def command(self, line: Text) -> Script:
        """Returns the script with one more line.

        >>> import geto
        >>> geto.Script("job").command("cd DEPS/data").command("ls").text
        b'cd DEPS/data\\nls\\n'
        """
        text = (self.text or b"") + os.fsencode(line) + b"\n"
        return Script(self.name, text, max_concurrent=self.max_concurrent)


#: A path, or a path and the name that it has under ``DEPS``.
Dependency = Union[PathLike, tuple[PathLike, str]]


@dataclass(frozen=True)
class Task:
    """A script and all that belongs to one execution of it.

    Running it twice makes two instances. A timeout is seconds or a :class:`datetime.timedelta`,
    rounded up to whole seconds; values of ``env`` are secrets.

    >>> import geto
    >>> script = geto.Script.from_commands("greet", ["echo Hello, $1 $NAME"])
    >>> task = geto.Task(script, args=["dear"], env={"NAME": "world"}, timeout=60)
    >>> geto.Fleet(hosts=["local"]).run(task).text
    'Hello, dear world\\n'
    """

    #: What is executed.
    script: Script
    #: The arguments of the script.
    args: Iterable[Union[Text, PathLike]] = ()
    #: Files and directories that the script finds as ``DEPS/<name>``.
    dependencies: Iterable[Dependency] = ()
    #: Variables of the script.
    env: Optional[Mapping[str, Text]] = field(default=None, repr=False)
    #: How long the script may run; no limit by default.
    timeout: Optional[Union[float, timedelta]] = None
    #: How many of the host's slots it takes.
    slots: int = 1
    #: How many of the host's GPUs it has to itself.
    gpus: int = 0
    #: What the script reads on its standard input.
    stdin: Optional[Text] = field(default=None, repr=False)

    def native(self, bring: Optional[Iterable[str]] = None) -> _geto.Task:
        """Makes a task of the engine; ``bring`` are patterns of files that come home.

        It is what checks a task.

        >>> import geto
        >>> geto.Task(geto.Script("job"), env={"A-B": "x"}).native()
        Traceback (most recent call last):
            ...
        ValueError: `A-B` is no name for a variable: it takes letters, digits and `_`, not a digit first
        """
        return _geto.Task(_Parts(self, bring))


class _Parts:
    """What the engine reads of a task."""

    def __init__(self, task: Task, bring: Optional[Iterable[str]]) -> None:
        timeout = task.timeout
        self.script = task.script
        self.args = [os.fsencode(arg) for arg in each_of("args", task.args)]
        self.env = [(name, os.fsencode(value)) for name, value in (task.env or {}).items()]
        self.dependencies = [
            (
                (os.fspath(given[0]), given[1])
                if isinstance(given, tuple)
                else (os.fspath(given), None)
            )
            for given in each_of("dependencies", task.dependencies)
        ]
        self.stdin = None if task.stdin is None else os.fsencode(task.stdin)
        self.timeout = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        self.slots = task.slots
        self.gpus = task.gpus
        self.bring = None if bring is None else list(each_of("bring", bring))
