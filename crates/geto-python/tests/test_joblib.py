"""joblib over the hosts of a fleet."""

from __future__ import annotations

import os
import sys

import joblib
import pytest

import geto
import geto.joblib


def test_joblib_runs_calls_on_hosts(fleet: geto.Fleet) -> None:
    with joblib.parallel_config("geto", fleet=fleet, python=sys.executable):
        calls = (joblib.delayed(lambda n: (n * n, os.environ["GETO_HOST"]))(n) for n in range(5))
        assert joblib.Parallel()(calls) == [(n * n, "one") for n in range(5)]
        with pytest.raises(ZeroDivisionError):
            joblib.Parallel()(joblib.delayed(lambda n: 1 // n)(n) for n in range(2))
