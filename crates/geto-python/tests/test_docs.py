"""The examples of docstrings run, and all that is public has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import geto

MODULES = [module.name for module in pkgutil.iter_modules(geto.__path__, "geto.")]


@pytest.mark.parametrize("name", ["geto", *MODULES])
def test_examples_run(name: str, world: Path) -> None:
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0


def test_all_that_is_public_is_documented() -> None:
    for name in geto.__all__:
        thing = getattr(geto, name)
        assert inspect.getdoc(thing), name
        for member, value in vars(thing).items():
            if not member.startswith("_") and (callable(value) or isinstance(value, property)):
                assert inspect.getdoc(value), f"{name}.{member}"
