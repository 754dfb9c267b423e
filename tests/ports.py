"""Ports for servers of tests."""

import contextlib
import itertools
import os
import socket

_ports = itertools.count(20000 + 7 * os.getpid() % 12000)
"""Below the ports that the system gives to outgoing connections, which would take a stopped server's."""
_claims: list[socket.socket] = []


def free_port() -> int:
    """A port that nobody listens on, and that no other process of tests gets while this one lives."""
    for port in _ports:
        with contextlib.suppress(OSError), socket.socket() as server:
            server.bind(("127.0.0.1", port))
            claim = socket.socket(socket.AF_UNIX)
            _claims.append(claim)
            claim.bind(f"\0langpose-test-port-{port}")  # a name without a file, gone with this process
            return port
    raise AssertionError
