"""Python's regexes, each search within a limit of processor time.

Python's engine tries alternatives one after the other, and a pattern such as `(a+)+$` has more of them than there is time. Another
engine would read some patterns otherwise, so it is Python's, with an end: short texts are searched here, under a timer whose signal
the engine looks at now and then; long ones, between two looks at which minutes may pass, and all texts outside of the main thread,
which gets no signals, in a process of their own, which the kernel ends.
"""

from __future__ import annotations

import atexit
import os
import pickle
import re
import signal
import subprocess
import sys
from _thread import get_ident
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from bulkup.errors import ExitCode, Interrupted

__all__ = ["TooSlow", "first_groups"]

LIMIT_S = 0.5
"""Processor time for what is searched at once: a block's rows, or one row. Linear patterns search 50 MB in that time."""

_group: Callable[[Any], Any] = itemgetter(1)

_bare: Any = sys.modules.get("_signal", signal)
"""What `signal` is made of. It makes enumerations of numbers and handlers, which takes ten times as long as the rest."""

_set_handler: Callable[[int, Any], Any] = _bare.signal
_handler_of: Callable[[int], Any] = _bare.getsignal

_STOPS = tuple(map(int, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)))
_ALARM, _TIMER = int(signal.SIGVTALRM), int(signal.ITIMER_VIRTUAL)
_LONG_CHARS = 64 * 1024
_MOST_REMEMBERED = 10_000

_HELPER = """
import pickle, re, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
while True:
    try:
        pattern, flags, texts, limit_s = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    search = re.compile(pattern, flags).search
    signal.setitimer(signal.ITIMER_VIRTUAL, limit_s)  # nobody handles its signal, so it ends this process
    groups = [found and found[1] for found in map(search, texts)]
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    pickle.dump(groups, sys.stdout.buffer)
    sys.stdout.buffer.flush()
"""


class TooSlow(Exception):
    """A search took more than its processor time."""

    def __init__(self) -> None:
        super().__init__(f"takes more than {LIMIT_S:g} s")


_slow: set[int] = set()
"""Hashes of a pattern and a text that it was too slow for: what is looked at again need not wait again."""


_last: tuple[re.Pattern[str] | None, dict[str, str | None]] = (None, {})
"""What was found in the last block with a text that does not match. Such a block is looked at again, text by text, and a timer
for each takes ten times as long as its search."""


def first_groups(pattern: re.Pattern[str], texts: Sequence[str]) -> list[str | None]:
    """For each of *texts* the first group of *pattern*'s first match, None where there is none.

    Raises `TooSlow`, or `Interrupted` in its place where a signal has asked for an end.
    """
    global _last
    if len(texts) == 1:
        searched, known = _last
        if searched is pattern and texts[0] in known:
            return [known[texts[0]]]
    _stops.watch()
    key = hash((pattern.pattern, pattern.flags, texts[0])) if len(texts) == 1 else None
    if key in _slow:
        raise TooSlow
    try:
        is_long = max(map(len, texts), default=0) > _LONG_CHARS
        found = _helped(pattern, texts) if is_long else _timed(pattern, texts)
    except TooSlow:
        _stops.check()
        if key is not None:
            if len(_slow) >= _MOST_REMEMBERED:
                _slow.clear()
            _slow.add(key)
        raise
    if len(texts) > 1 and None in found:
        _last = pattern, dict(zip(texts, found, strict=True))
    return found


def _timed(pattern: re.Pattern[str], texts: Sequence[str]) -> list[str | None]:
    try:
        before = _set_handler(_ALARM, _time_is_up)
    except ValueError:  # not the main thread
        return _helped(pattern, texts)
    try:
        try:
            signal.setitimer(_TIMER, LIMIT_S)
            found: list[Any] = list(map(pattern.search, texts))
            return list(map(_group, found)) if all(found) else [match and match[1] for match in found]
        finally:
            signal.setitimer(_TIMER, 0)
    finally:  # also where time was up in that very moment
        _set_handler(_ALARM, signal.SIG_DFL if before is None else before)


def _time_is_up(_number: int, _frame: Any) -> None:
    raise TooSlow


# --- a process for it -----------------------------------------------------------------------------------------------

_helpers: dict[tuple[int, int], subprocess.Popen[bytes]] = {}
"""By process and thread: a fork must not talk to its parent's."""


def _helped(pattern: re.Pattern[str], texts: Sequence[str]) -> list[str | None]:
    place = os.getpid(), get_ident()
    helper = _helpers.get(place)
    if helper is None:
        command = [sys.executable, "-I", "-S", "-c", _HELPER]
        helper = _helpers[place] = subprocess.Popen(  # noqa: S603 - nothing of the user's is in it
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
    assert helper.stdin is not None
    assert helper.stdout is not None
    try:
        pickle.dump((pattern.pattern, pattern.flags, list(texts), LIMIT_S), helper.stdin)
        helper.stdin.flush()
        groups: list[str | None] = pickle.load(helper.stdout)  # noqa: S301 - our own process
    except BaseException as why:
        code = _end(place)
        if isinstance(why, EOFError | OSError) and code == -signal.SIGVTALRM:
            raise TooSlow from None
        raise
    return groups


def _end(place: tuple[int, int]) -> int:
    helper = _helpers.pop(place)
    with helper:  # closes its pipes, and waits
        helper.poll()
        if helper.returncode is None:
            helper.kill()
    return helper.returncode


@atexit.register
def _end_all() -> None:
    for place in [place for place in _helpers if place[0] == os.getpid()]:
        _end(place)


# --- being asked to end ---------------------------------------------------------------------------------------------


class _Stops:
    """Learns of signals to end while the event loop, which answers them, has to wait for one slow row after the other."""

    def __init__(self) -> None:
        self._asked: int | None = None
        self._before: dict[int, Any] = {}

    def watch(self) -> None:
        """From now on, until somebody else handles them."""
        for number in _STOPS:
            handler = _handler_of(number)
            if callable(handler) and handler not in (signal.default_int_handler, self._note):
                try:
                    signal.signal(number, self._note)
                except ValueError:  # not the main thread
                    return
                signal.siginterrupt(number, False)
                self._before[number], self._asked = handler, None

    def check(self) -> None:
        """Raise `Interrupted` if one came."""
        asked, self._asked = self._asked, None
        if asked is not None and signal.getsignal(asked) == self._note:
            code = ExitCode.INTERRUPTED if asked == signal.SIGINT else ExitCode.TERMINATED
            raise Interrupted(code, "interrupted; the same command goes on")

    def _note(self, number: int, frame: Any) -> None:
        self._asked = number
        self._before[number](number, frame)


_stops = _Stops()
