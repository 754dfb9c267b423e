"""Finds and names a rank that hangs: ranks publish how far they are, and compare when nothing moves."""

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from torch._C._distributed_c10d import Store, TCPStore

from langpose_dist.host.console import say
from langpose_dist.train.distributed.processes import Layout

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 15.0
"""Time limit of an answer of the store, connection included."""
_PART_SECONDS = 1.0
"""Time limit of a message to the store while the process ends."""


class Progress:
    """Counts the places that this rank has reached, in the same order on every rank.

    A thread publishes the count, and with it a sign of life. When this rank has not moved for ``timeout``
    seconds, it compares: the ranks that give no more signs hang, or cannot be reached; where all give them,
    those with the lowest count. The process is ended with their names.
    The launcher then ends the others.

    Args:
        layout: This process; one that trains alone is not watched.
        timeout: Seconds.
        start_timeout: Seconds until the first place, if that is more.
        on_hang: Called with the message in front of the end, by the one rank that tells.
    """

    def __init__(
        self, layout: Layout, timeout: float, on_hang: Callable[[str], Any], *, start_timeout: float = 0.0
    ) -> None:
        self.layout = layout
        self.timeout = timeout
        self.on_hang = on_hang
        self.start_timeout = start_timeout
        self._interval = min(2.0, timeout / 4)
        self._count = 0
        self._beat = 0
        self._place = "the start"
        self._moved_at = time.monotonic()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        if layout.world_size > 1:
            self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)
            self._thread.start()

    def tick(self, place: str) -> None:
        """This rank has come to a place that every rank comes to."""
        self._count += 1
        self._place = place
        self._moved_at = time.monotonic()

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        # This thread looks at the clock alone: whoever waits for an answer over a broken connection may
        # wait for as long as TCP does.
        publisher = threading.Thread(target=self._publish_on, name="progress-publish", daemon=True)
        publisher.start()
        while not self._closed.wait(self._interval):
            moved_at = self._moved_at
            limit = self.timeout if self._count else max(self.timeout, self.start_timeout)
            if time.monotonic() > moved_at + limit:
                problem = self._ask()
                if self._moved_at == moved_at and not self._closed.is_set():
                    self._end(limit, problem)
        # A process that leaves while a thread is inside torch may abort; one that waits for a store that is
        # gone is not waited for.
        publisher.join(_PART_SECONDS)

    def _publish_on(self) -> None:
        store: Store | None = None
        while not self._closed.wait(self._interval):
            try:
                store = store or _connect()
                self._publish(store)
            except RuntimeError:
                store = None

    def _ask(self) -> str:
        """Why nothing moves, as far as the ranks' counts and signs of life tell."""
        answers: list[str] = []

        def ask() -> None:
            with contextlib.suppress(RuntimeError):
                store = _connect()
                self._publish(store)
                answers.append(self._compare(store))

        asking = threading.Thread(target=ask, name="progress-ask", daemon=True)
        asking.start()
        asking.join(_ANSWER_SECONDS + 3 * self._interval)
        return (
            answers[0] if answers else f"{os.environ['MASTER_ADDR']}, where the ranks meet, does not answer"
        )

    def _publish(self, store: Store) -> None:
        self._beat += 1
        mine = {"count": self._count, "beat": self._beat, "place": self._place, "name": self.layout.name}
        store.set(_key(self.layout.rank), json.dumps(mine))

    def _compare(self, store: Store) -> str:
        before = self._states(store)
        self._closed.wait(3 * self._interval)
        self._publish(store)
        states = self._states(store)
        # A suspended process says nothing more, wherever between two ticks it is.
        behind = [state for rank, state in states.items() if state["beat"] == before[rank]["beat"]]
        if not behind:
            lowest = min(state["count"] for state in states.values())
            behind = [state for state in states.values() if state["count"] == lowest]
        if len(behind) == len(states):
            return f"every rank waits at {self._place}: the connection between them is gone"
        names = ", ".join(f"{state['name']}, last seen at {state['place']}" for state in behind)
        return f"{names}, hangs or cannot be reached while the others wait at {self._place}"

    def _states(self, store: Store) -> dict[int, dict[str, Any]]:
        ranks = range(self.layout.world_size)
        never_heard = {"count": -1, "beat": 0, "place": "no place"}
        return {
            rank: json.loads(store.get(_key(rank)))
            if store.check([_key(rank)])
            else {**never_heard, "name": f"rank {rank}"}
            for rank in ranks
        }

    def _end(self, limit: float, problem: str) -> None:
        message = f"no progress for {limit:g} s: {problem}; ending the run, resume with --resume"
        say(f"error: {self.layout.name}: {message}")
        try:
            self.on_hang(message)
        finally:
            os._exit(1)


def _connect() -> Store:
    """A connection of its own: the main thread may be waiting on the other."""
    return TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=False,
        timeout=timedelta(seconds=_CONNECT_SECONDS),
    )


def _key(rank: int) -> str:
    return f"langpose/progress/{rank}"
