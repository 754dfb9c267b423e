"""The nodes of a training and the network between them: hostfiles, names, ports, interfaces."""

import errno
import re
import socket
from pathlib import Path

from errors import StartError


def read_hostfile(path: Path) -> dict[str, int]:
    """Ranks of each node.

    Raises:
        StartError: If the file does not exist or a line is not ``HOST slots=N``.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise StartError(
            f"{path} cannot be read ({reason}); write one like launch/hostfile.example"
        ) from None
    slots: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r"([\w.-]+)\s+slots=(\d+)(\s+#.*)?", line)
        if match is None or int(match[2]) == 0:
            raise StartError(
                f"{path}:{number}: {line!r} must be HOST slots=N, with N from 1; correct the line"
            )
        if match[1] in slots:
            raise StartError(f"{path}:{number}: {match[1]} is there already; give each host one line")
        slots[match[1]] = int(match[2])
    if not slots:
        raise StartError(f"{path} names no host; write lines such as node-0 slots=4")
    return slots


def check_address(address: str) -> None:
    """See that ``--master-addr``, or the name in its place, can be resolved.

    Raises:
        StartError: If it cannot.
    """
    try:
        socket.getaddrinfo(address, None)
    except (OSError, UnicodeError):
        raise StartError(
            f"--master-addr {address}: this node does not know that host; give its IP address, "
            "or correct the name"
        ) from None


def check_interface(name: str) -> None:
    """See that this node has the network interface.

    Raises:
        StartError: If it does not.
    """
    known = sorted(known for _, known in socket.if_nameindex())
    if name not in known:
        raise StartError(f"--interface {name}: this node has {', '.join(known)}")


def interface_variables(name: str | None) -> dict[str, str]:
    """Variables that make the ranks talk over one network interface."""
    return {} if name is None else {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name}


def loopback_notes(address: str) -> tuple[str, ...]:
    """A warning where the ranks would tell other nodes an address that leads those to themselves."""
    name = socket.gethostname()
    try:
        own = socket.gethostbyname(name)
    except OSError:
        own = None
    if address.startswith(("127.", "localhost")) or (own is not None and not own.startswith("127.")):
        return ()
    return (
        f"note: {name}, this node's name, leads to {own or 'nothing'}, which other nodes cannot reach; "
        "give --interface",
    )


def free_port() -> int:
    """A port of this node's loopback interface that nobody uses now."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def is_port_taken(port: int) -> bool:
    """Whether another process of this node listens there."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("", port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False
