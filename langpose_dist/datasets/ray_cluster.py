"""Joining a running Ray cluster: the same address, checks and messages on every command that takes one."""

import logging
import os
import socket
from typing import Any

from langpose_dist.config import UserError

_CONNECT_SECONDS = 10
_TOKEN_HINT = (
    "If it asks for a token, as one that found ~/.ray/auth_token at its start does, set RAY_AUTH_MODE=token "
    "here too and RAY_AUTH_TOKEN to what `ray get-auth-token` prints there."
)


def join_cluster(address: str, **options: Any) -> None:
    """``ray.init`` at a cluster that is there.

    Args:
        address: ``auto`` for the one that ``RAY_ADDRESS`` names, else for what ``ray start`` has started on
            this machine; ``HOST:PORT``; or ``ray://HOST:PORT``.
        options: Further ones of ``ray.init``.

    Raises:
        UserError: If there is none at the address, or it does not let this process in.
    """
    place = find_cluster(address)
    # Ray tries for minutes to reach an address where nothing listens.
    host, _, port = place.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"no Ray cluster at {place}: {error}; start one with `ray start --head`") from None
    import ray
    from ray.exceptions import RayError

    try:
        ray.init(address=place, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"the Ray cluster at {place} cannot be joined: {reason}. {_TOKEN_HINT}") from None


def find_cluster(address: str) -> str:
    """``HOST:PORT``, or ``ray://HOST:PORT``, of an address.

    Ray's own ``auto`` takes any Ray that runs on the machine, be it another sweep's or another user's.

    Raises:
        UserError: If it is none, or ``auto`` and no cluster is known.
    """
    place = address
    if address == "auto":
        from ray._private.utils import read_ray_address

        place = os.environ.get("RAY_ADDRESS") or read_ray_address() or ""
        if not place:
            raise UserError(
                "--ray-address auto: no Ray cluster was started on this machine; start one with "
                "`ray start --head`, or give its HOST:PORT"
            )
    host, _, port = place.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        source = "RAY_ADDRESS" if address == "auto" else "--ray-address"
        raise UserError(f"{source} {place!r} must be auto, HOST:PORT or ray://HOST:PORT")
    return place
