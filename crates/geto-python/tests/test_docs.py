"""The examples of docstrings run, and all that is public has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import geto
from geto.future import Promise

#: What the package calls on futures.
FOR_THE_ENGINE = {"told", "begun", "seen_through", "started"}
MODULES = [module.name for module in pkgutil.iter_modules(geto.__path__, "geto.")]


@pytest.mark.parametrize("name", ["geto", *MODULES])
def test_examples_run(name: str, world: Path) -> None:
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0


def test_all_that_is_public_is_documented_with_an_example() -> None:
    for name in geto.__all__:
        thing = getattr(geto, name)
        doc = inspect.getdoc(thing)
        assert doc, name
        assert ">>>" in doc, name
        # What they have is that of subprocess, or of all errors.
        if issubclass(thing, geto.GetoError):
            continue
        members = {**vars(thing), **(vars(Promise) if thing is geto.TaskFuture else {})}
        for member, value in members.items():
            if member.startswith("_") or member in FOR_THE_ENGINE:
                continue
            if callable(value) or isinstance(value, (property, classmethod)):
                assert ">>>" in (inspect.getdoc(getattr(thing, member)) or ""), f"{name}.{member}"
