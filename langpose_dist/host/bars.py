"""Progress of long work: a bar on a terminal, else a short line now and then."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

Item = TypeVar("Item")

_LINE_EVERY_S = 30.0
_LINE_EVERY_SHARE = 0.05
_LONGEST_SILENCE_S = 600.0


class Bar:
    """Counts what is done; entered around the work.

    A line comes after 30 seconds and 5 % of the work, whichever is later, or after 10 minutes of silence.

    Args:
        total: Amount of work.
        title: In front of each line.
        unit: Of the amount, in the singular.
        done: Amount that is done already.
        is_kept: True to leave the full bar on the terminal.
        is_shown: False to show nothing, as on ranks other than the first.
    """

    def __init__(
        self,
        total: int | float,
        title: str,
        unit: str,
        *,
        done: int | float = 0,
        is_kept: bool = True,
        is_shown: bool = True,
    ) -> None:
        self._total = total
        self._title = title
        self._unit = unit
        self._done = self._first = self._told = done
        self._note = ""
        self._started = self._told_at = time.monotonic()
        self._is_shown = is_shown
        self._bar: Any = None
        if is_shown and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                initial=done,
                desc=title,
                unit=unit,
                leave=is_kept,
                mininterval=0.5,
                file=sys.stderr,
            )

    def update(self, amount: int | float = 1) -> None:
        """Count an amount of work."""
        self._done = min(self._done + amount, self._total)
        if self._bar is not None:
            self._bar.update(self._done - self._bar.n)
        elif self._is_shown:
            now = time.monotonic()
            is_far = self._done >= self._told + _LINE_EVERY_SHARE * self._total
            if now >= self._told_at + (_LINE_EVERY_S if is_far else _LONGEST_SILENCE_S):
                self._tell(now)

    def note(self, values: Mapping[str, str]) -> None:
        """Set what stands behind the numbers from now on."""
        self._note = "".join(f", {name}={value}" for name, value in values.items())
        if self._bar is not None:
            self._bar.set_postfix(values, refresh=False)

    def _tell(self, now: float) -> None:
        rate = (self._done - self._first) / (now - self._started)
        left = timedelta(seconds=round((self._total - self._done) / rate)) if rate else "?"
        print(
            f"{self._title}: {self._done:.6g} of {self._total:.6g} {self._unit}s "
            f"({self._done / self._total:.0%}), {rate:.3g} a second, {left} left{self._note}",
            file=sys.stderr,
            flush=True,
        )
        self._told, self._told_at = self._done, now

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def tracked(items: Sequence[Item], title: str, unit: str) -> Iterator[Item]:
    """Pass items on, with their progress shown."""
    with Bar(len(items), title, unit) as bar:
        for item in items:
            yield item
            bar.update()
