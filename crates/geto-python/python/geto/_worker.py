"""What runs on hosts for :class:`geto.Executor`: one call, given on stdin.

Any version of Python must be able to read it, to say that it is the wrong one.
"""

import os
import sys


# A function may go elsewhere.
PLACE = os.getcwd()


def answer(kind, value):
    """Leaves the answer where the caller finds it, whole."""
    part = os.path.join(PLACE, "geto-result.part")
    with open(part, "wb") as file:
        file.write(kind + b"\n" + value)
    os.rename(part, os.path.join(PLACE, "geto-result"))


def call(source):
    """Reads a call, makes it, and answers."""
    theirs = source.readline().strip()
    own = ("%d.%d" % sys.version_info[:2]).encode("ascii")
    if theirs != own:
        answer(b"version", own)
        return
    with open("geto-cloudpickle.zip", "wb") as file:
        file.write(source.read(int(source.readline())))
    payload = source.read()
    # What the function reads is not what it came by.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.path.insert(0, os.path.abspath("geto-cloudpickle.zip"))
    sys.path.insert(0, os.getcwd())
    import cloudpickle
    import traceback

    try:
        initializer, function, args, kwargs, stored = cloudpickle.loads(payload)
        for key, name in stored:
            with open(os.path.join("DEPS", name), "rb") as file:
                (kwargs if isinstance(key, str) else args)[key] = cloudpickle.loads(file.read())
        if initializer is not None:
            initializer()
        value = function(*args, **kwargs)
        answer(b"value", cloudpickle.dumps(value))
    except BaseException as error:
        text = traceback.format_exc()
        try:
            told = cloudpickle.dumps((error, text))
            # One that wants other arguments than it tells can't be made anew.
            cloudpickle.loads(told)
        except Exception:
            told = cloudpickle.dumps((RuntimeError(repr(error)), text))
        answer(b"error", told)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    call(sys.stdin.buffer if hasattr(sys.stdin, "buffer") else sys.stdin)
