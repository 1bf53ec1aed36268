#!/usr/bin/env python3
"""Runs a shell line on hosts by `geto rpc`: client.py LINE [HOST]... (GETO_SOCKET: where it listens)."""
import base64
import json
import os
import socket
import subprocess
import sys


class Geto:
    """A connection to `geto rpc`: one that is started for it, or one that listens on a socket."""

    def __init__(self, path=None):
        if path:
            stream = socket.socket(socket.AF_UNIX)
            stream.connect(path)
            self.reader, self.writer = stream.makefile("rb"), stream.makefile("wb")
        else:
            child = subprocess.Popen(["geto", "rpc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self.reader, self.writer = child.stdout, child.stdin
        self.last = 0

    def call(self, method, listen=lambda event: None, **params):
        self.last += 1
        request = {"jsonrpc": "2.0", "id": self.last, "method": method, "params": params}
        self.writer.write(json.dumps(request).encode() + b"\n")
        self.writer.flush()
        for answer in map(json.loads, self.reader):
            if answer.get("method") == "event":
                listen(answer["params"])
            elif "error" in answer:
                raise RuntimeError("{code}: {message}".format(**answer["error"]))
            else:
                return answer["result"]
        raise EOFError("geto rpc has ended")


def show(event):
    if event["event"] == "stdout":
        sys.stdout.buffer.write(base64.b64decode(event["base64"]))


if __name__ == "__main__":
    task = {"script": {"name": "client", "lines": [sys.argv[1]]}, "bring": []}
    geto = Geto(os.environ.get("GETO_SOCKET"))
    results = geto.call("run", show, task=task, hosts=sys.argv[2:])
    sys.stdout.flush()
    sys.exit(results["exit_code"])
