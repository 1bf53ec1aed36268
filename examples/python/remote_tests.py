"""Runs the tests of a project on another machine, shows their output as it comes, and ends as they do.

usage: python remote_tests.py PROJECT HOST [COMMAND...]
"""

import asyncio
import sys
from pathlib import Path

import geto


async def main(project: str, host: str, command: list[str]) -> int:
    """Sends the project, and follows its tests."""
    name = Path(project).resolve().name
    script = geto.Script.from_commands("tests", ['cd "DEPS/$1" && shift && exec "$@" 2>&1'])
    task = geto.Task(script, args=[name, *command], dependencies=[project], timeout=600)
    try:
        async for line in geto.Fleet(hosts=[host]).stream(task):
            print(line, flush=True)
    except geto.TaskFailed as failed:
        print(failed, file=sys.stderr)
        return failed.exit_code
    return 0


if __name__ == "__main__":
    default = ["python3", "-m", "unittest", "-v"]
    sys.exit(asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:] or default)))
