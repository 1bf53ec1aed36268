"""What runs on hosts between a caller and its worker: bytes both ways, to the end of either."""

import os
import socket
import sys
import threading


def up(link):
    """Passes on what the caller says."""
    while True:
        some = sys.stdin.buffer.read1(1 << 16)
        if not some:
            break
        link.sendall(some)
    link.shutdown(socket.SHUT_WR)


def main(nonce):
    """Connects both."""
    link = socket.socket(socket.AF_UNIX)
    link.connect("geto-socket")
    # What start-up files print comes before it.
    os.write(1, nonce)
    threading.Thread(target=up, args=(link,), daemon=True).start()
    while True:
        some = link.recv(1 << 16)
        if not some:
            break
        while some:
            some = some[os.write(1, some) :]
    # The other thread may wait for ever.
    os._exit(0)


if __name__ == "__main__":
    # It is set by a line before all this.
    main(NONCE)  # noqa: F821
