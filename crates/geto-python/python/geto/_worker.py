"""What runs on hosts for :class:`geto.Executor`: one call, or one call after another.

Any version of Python must be able to read it, to say that it is the wrong one.
"""

import os
import socket
import struct
import sys

#: Kind, number and length of what goes over a link.
HEAD = struct.Struct(">cQQ")
#: For how many seconds a worker waits for its caller's link, and for a word on it.
PATIENCE = 120


# A function may go elsewhere.
PLACE = os.getcwd()


def answer(kind, value):
    """Leaves the answer where the caller finds it, whole."""
    part = os.path.join(PLACE, "geto-result.part")
    with open(part, "wb") as file:
        file.write(kind + b"\n" + value)
    os.rename(part, os.path.join(PLACE, "geto-result"))


def outcome(cloudpickle, function, *args):
    """Calls a function; what came of it as kind and bytes."""
    import traceback

    try:
        return b"value", cloudpickle.dumps(function(*args))
    except BaseException as error:
        text = traceback.format_exc()
        try:
            told = cloudpickle.dumps((error, text))
            # One that wants other arguments than it tells can't be made anew.
            cloudpickle.loads(told)
            return b"error", told
        except Exception:
            return b"error", cloudpickle.dumps((RuntimeError(repr(error)), text))
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                # The function has closed it.
                pass


def make(call, cloudpickle):
    """Makes a call of what was sent."""
    function, args, kwargs, stored = cloudpickle.loads(call)
    for key, name in stored:
        with open(os.path.join("DEPS", name), "rb") as file:
            (kwargs if isinstance(key, str) else args)[key] = cloudpickle.loads(file.read())
    return function(*args, **kwargs)


def initialize(pickled, cloudpickle):
    """Calls the initializer, if there is one."""
    initializer = cloudpickle.loads(pickled)
    if initializer is not None:
        initializer()


def whole(link, length):
    """Reads so many bytes; fewer where the link ends."""
    parts = []
    while length:
        part = link.recv(min(length, 1 << 20))
        if not part:
            break
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def written(stream):
    """How much was written to the file behind a stream."""
    return os.fstat(stream).st_size


def serve(pickled, cloudpickle):
    """Takes one call after another from whoever connects, until it is told to end."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("geto-socket")
    # One more for each time that the link breaks in a long call.
    listener.listen(128)
    taken = os.open("geto-taken", os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(1, b"geto-ready " + os.fsencode(sys.executable) + b"\n")
    # A function may close its own.
    streams = [os.dup(1), os.dup(2)]
    kind, value = outcome(cloudpickle, initialize, pickled, cloudpickle)
    failed = (kind, value) if kind == b"error" else None
    last, told = 0, b""
    while True:
        listener.settimeout(PATIENCE)
        try:
            link, _ = listener.accept()
        except socket.timeout:
            # Nobody is there any more who wants answers.
            return
        link.settimeout(PATIENCE)
        try:
            while True:
                head = whole(link, HEAD.size)
                if len(head) < HEAD.size:
                    break
                kind, number, length = HEAD.unpack(head)
                call = whole(link, length)
                if kind == b"e":
                    return
                if kind != b"c" or len(call) < length:
                    continue
                # One that comes again was cut off from its answer.
                if number != last:
                    # Where it can't be noted it is not made, and tried again.
                    os.pwrite(taken, b"%d\n" % number, 0)
                    last = number
                    kind, value = failed or outcome(cloudpickle, make, call, cloudpickle)
                    for own, stream in enumerate(streams, 1):
                        os.dup2(stream, own)
                    sizes = struct.pack(">QQ", *[written(stream) for stream in streams])
                    told = HEAD.pack(kind[:1], number, len(value) + len(sizes)) + sizes + value
                # Each piece has its time, and not all of them together.
                rest = memoryview(told)
                while rest:
                    rest = rest[link.send(rest) :]
        except (OSError, socket.timeout):
            pass
        finally:
            link.close()


def main(source):
    """Reads what is to be done, and does it."""
    theirs = source.readline().strip()
    own = ("%d.%d" % sys.version_info[:2]).encode("ascii")
    if theirs != own:
        answer(b"version", own)
        return
    with open("geto-cloudpickle.zip", "wb") as file:
        file.write(source.read(int(source.readline())))
    pickled = source.read(int(source.readline()))
    call = source.read()
    # What the function reads is not what it came by.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.path.insert(0, os.path.abspath("geto-cloudpickle.zip"))
    sys.path.insert(0, os.getcwd())
    import cloudpickle

    if not call:
        serve(pickled, cloudpickle)
        return

    def both():
        initialize(pickled, cloudpickle)
        return make(call, cloudpickle)

    answer(*outcome(cloudpickle, both))


if __name__ == "__main__":
    main(sys.stdin.buffer if hasattr(sys.stdin, "buffer") else sys.stdin)
