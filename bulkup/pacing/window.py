"""One quota that a service tells: how long its window is, and at what pace it is used to the full. Pure.

A limit without a window says little: 50 may be 50 a minute or 50 in five seconds. The countdown to the reset tells them apart.

- In a *window* the end stays where it is while requests are used up. When it comes, `remaining` jumps up: from one end to the
  next is the window.
- A *bucket* refills all the time, and its reset is when it is full again: each request moves that away.

Nothing goes faster than what was seen allows. What cannot be learned is a minute.
"""

from __future__ import annotations

from collections import deque

from bulkup.light_dataclass import dataclass
from bulkup.pacing.told import QuotaTold

__all__ = ["ToldWindow"]

MINUTE_S, HOUR_S = 60.0, 3600.0
"""A quota of more than an hour is spread over an hour: one of a day is there to be used today."""
LEAST_PER_S = 1 / 60
"""No header slows the pace below one request a minute."""

LEAST_WINDOW_S = 0.9
"""Shorter windows are not learned (a policy may name them)."""
SLACK_S, ROUNDED_S = 0.5, 1.0
"""Round trips differ by about so much; and a reset in whole seconds may be off by one."""
SNAP_S = 0.3
"""Windows are whole seconds: what was measured as close to that is one."""
JITTER_S, SHORT_S = 0.05, 5.0
"""Requests do not take equally long to arrive: in a window that is shorter, the share that is left free is less than that."""
SPANS, LONGER = 3, 1.5
"""Of so many measured windows the shortest counts; one that is so much longer shows that they have become longer."""
PROBES, FEW, PROBE_PER_S = 8, 3, 10.0
"""Until so many answers have come (or a quarter of the limit) they are had at that pace, to see what counts down."""

COMES_BACK = 8
"""Where of so many requests more than half came back, with no end in between, it is a bucket. By so many it is measured, too."""
PLENTY, ENOUGH = 0.75, 0.5
"""What must be left of the limit for a faster try, and for no slower one."""
MUCH_FASTER, SLOW_PER_S, FASTER, SLOWER = 2.0, 5.0, 1.1, 0.8
"""Twice as fast only where that is no burst."""
CONTRADICTIONS = 2


@dataclass(slots=True)
class _Countdown:
    """Answers that counted down to the same end. *ends_s* is the earliest that they allow.

    *since_s*: the end before this one, where it was seen.
    """

    began_s: float
    remaining: float
    reset_s: float
    ends_s: float
    lowest: float
    lowest_s: float
    longest_s: float
    since_s: float | None

    def seen_s(self, rounded_s: float) -> float:
        """No window is shorter: from the first answer to the end, and the longest reset but for what it is rounded by."""
        return max(self.longest_s - rounded_s, self.ends_s - self.began_s if rounded_s else 0.0)


@dataclass(slots=True)
class _Batch:
    """Answers at one pace, and what was left at first."""

    began_s: float
    first: float
    answers: int = 0


class ToldWindow:
    """Follows one quota of requests. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self.limit = 1.0
        self.is_bucket = False
        self._given_s: float | None = None
        self._answers = 0
        self._whole = self._rounds_down = False
        self._countdown: _Countdown | None = None
        self._last_ended_s = float("-inf")
        self._last_seen_s = 0.0
        self._spans: deque[float] = deque(maxlen=SPANS)
        self._is_window = False
        self._contradictions = 0
        self._batch: _Batch | None = None
        self._tried_per_s = 0.0
        self._is_measured = False
        self._left_per_s: float | None = None

    @property
    def window_s(self) -> float | None:
        """The window's length, as told or as measured; None while it is not known."""
        if self._given_s is not None:
            return self._given_s
        spans = [*self._spans]
        if (span_s := self._span_s) is not None:
            spans = [*spans, span_s] if not spans or span_s <= LONGER * min(spans) else [span_s]
        return min(spans, default=None)

    @property
    def said_per_s(self) -> float:
        """Requests a second that the quota comes to: by its window, else by a minute, or by resets that are longer than that."""
        window_s = self.window_s
        if window_s is None:
            window_s = max(MINUTE_S, self._seen_s)
        return max(LEAST_PER_S, self.limit / min(HOUR_S, window_s))

    def cap_per_s(self, now: float) -> float:
        """The pace that uses the quota to the full, as far as is known."""
        window_s = self.window_s
        if window_s is None:
            return max(self.said_per_s, self._unproven_per_s(now))
        return max(LEAST_PER_S, self.said_per_s * window_s / (window_s + (JITTER_S if window_s < SHORT_S else 0.0)))

    def left_per_s(self, now: float) -> float | None:
        """The pace that spreads what is left over the time until the reset; None after it."""
        is_over = self.changes_s(now) is None or self._contradictions >= CONTRADICTIONS
        return None if is_over else self._left_per_s

    def changes_s(self, now: float) -> float | None:
        """When the pace changes by itself; None where it does not."""
        ends_s = self._ends_s
        return None if ends_s is None or now >= ends_s else ends_s

    @property
    def _ends_s(self) -> float | None:
        """The end that is counted down to; it comes no later than a window after the first answer."""
        if self._countdown is None:
            return None
        window_s = self.window_s
        return (
            self._countdown.ends_s
            if window_s is None
            else min(self._countdown.ends_s, self._countdown.began_s + window_s)
        )

    @property
    def _rounded_s(self) -> float:
        """By so much a reset may be off."""
        return ROUNDED_S if self._whole else 0.0

    @property
    def _seen_s(self) -> float:
        """No window is shorter than this: the longest that the last two countdowns were seen to last."""
        if self._countdown is None or self._contradictions >= CONTRADICTIONS:
            return 0.0
        return max(self._last_seen_s, self._countdown.seen_s(self._rounded_s))

    @property
    def _span_s(self) -> float | None:
        """From the end before to the one that is counted down to now: that is the window, but for what was idle in between."""
        countdown = self._countdown
        if countdown is None or countdown.since_s is None or not self._is_window:
            return None
        span_s = countdown.ends_s - countdown.since_s
        if span_s < LEAST_WINDOW_S:
            return None
        if abs(span_s - round(span_s)) <= SNAP_S:
            span_s = float(round(span_s))
        return max(span_s, countdown.longest_s - 2 * self._rounded_s)

    def tell(self, now: float, told: QuotaTold, *, late_s: float = 0.0) -> None:
        """An answer has come that told of this quota, as it was about *late_s* seconds ago."""
        self._answers += 1
        self.limit = told.limit if told.limit is not None else max(self.limit, told.remaining or 0.0)
        if told.window_s is not None:
            self._given_s = told.window_s
        if told.remaining is None or told.reset_s is None:
            return
        self._whole = self._whole or told.whole
        remaining = min(told.remaining, self.limit)
        if told.whole and told.reset_s == 0 and not self._rounds_down and self._countdown is not None:
            self._rounds_down = True  # a second that is not over counts for nothing: so all of its resets are one more
            self._countdown.ends_s += ROUNDED_S
        reset_s = told.reset_s + (ROUNDED_S if told.whole and self._rounds_down else 0.0)
        if not self._take(now - late_s, now - late_s + reset_s, reset_s, remaining):
            return
        self._try(now, remaining)
        assert self._ends_s is not None
        left_s = max(self._ends_s - now, 0.05)
        # the one after those that are left comes when the window is over; where none is left, nothing does
        more = 1 if self.window_s is not None and remaining >= 1 else 0
        self._left_per_s = (remaining + more) / min(HOUR_S, left_s) if reset_s else None

    def _take(self, now: float, ends_s: float, reset_s: float, remaining: float) -> bool:
        """Follow the countdown. False for an answer from before the end that was seen last: it was overtaken."""
        slack_s = SLACK_S + self._rounded_s
        before = self._countdown
        if before is not None and ends_s < min(self._last_ended_s + slack_s, before.ends_s - slack_s):
            return False
        if before is None or self._is_over(before, now, ends_s, remaining, slack_s):
            since_s = self._close(before, now, ends_s, remaining) if before is not None else None
            if since_s is not None:
                self._contradictions = 0
            began_s = ends_s - reset_s
            self._countdown = _Countdown(began_s, remaining, reset_s, ends_s, remaining, now, reset_s, since_s)
        else:
            self._follow(before, now, ends_s, reset_s, remaining, slack_s)
        return True

    def _is_over(self, before: _Countdown, now: float, ends_s: float, remaining: float, slack_s: float) -> bool:
        """The end has come that *before* counted down to (or another is told now)."""
        if abs(ends_s - before.ends_s) <= slack_s and now < before.ends_s - slack_s:
            return False
        if remaining - before.lowest >= max(2.0, self.limit / 4) or ends_s < before.ends_s - slack_s - ROUNDED_S:
            return True
        has_moved = ends_s > before.ends_s + slack_s
        is_due = now > before.ends_s - slack_s and remaining > before.lowest
        return has_moved and (is_due or now > before.ends_s + slack_s)

    def _close(self, before: _Countdown, now: float, ends_s: float, remaining: float) -> float | None:
        """*before* is over. Its end, if that was seen as it came: from there on the next window is measured."""
        if (span_s := self._span_s) is not None:
            if self._spans and span_s > LONGER * min(self._spans):
                self._spans.clear()
            self._spans.append(span_s)
        self._last_ended_s, self._last_seen_s = min(now, before.ends_s), before.seen_s(self._rounded_s)
        was_seen = abs(now - before.ends_s) <= max(ROUNDED_S + SLACK_S, (ends_s - before.ends_s) / 4)
        return before.ends_s if was_seen and remaining > before.lowest else None

    def _follow(
        self, countdown: _Countdown, now: float, ends_s: float, reset_s: float, remaining: float, slack_s: float
    ) -> None:
        """One more answer on the way to the same end: does that stay, as a window's does, or move, as a bucket's?"""
        fallen = countdown.remaining - remaining
        first_s = countdown.reset_s - self._rounded_s
        if fallen >= 2 and first_s > 0 and not self.is_bucket:
            used = max(1.0, self.limit - countdown.remaining)
            as_bucket_s = first_s * (1 + fallen / used) - (now - countdown.began_s)
            self._is_window = self._is_window or as_bucket_s > reset_s + SLACK_S
        if remaining >= countdown.lowest + 2 and now > countdown.lowest_s + 2 and now < countdown.ends_s - 2 * slack_s:
            self._contradictions += 1  # it came back long before the end: whatever ends there is not this window
            countdown.lowest, countdown.lowest_s = remaining, now
        elif remaining <= countdown.lowest:
            countdown.lowest, countdown.lowest_s = remaining, now
        countdown.ends_s = min(countdown.ends_s, ends_s)
        countdown.longest_s = max(countdown.longest_s, reset_s)

    def _try(self, now: float, remaining: float) -> None:
        """In a bucket: find out how fast it refills, over batches of answers.

        What was sent and did not go missing from what is left has come back. Where all of it has, more may: that is tried, as
        long as the bucket is nearly full.
        """
        if self.window_s is not None or self._is_window:
            self._batch = None
            return
        batch = self._batch
        if batch is None:
            self._batch = _Batch(now, remaining)
            return
        batch.answers += 1
        took_s = now - batch.began_s
        if batch.answers < min(COMES_BACK, max(FEW, self.limit / 4)) or took_s < max(1.5 * self._seen_s, ROUNDED_S):
            return
        self._batch = None
        missing = max(0.0, batch.first - remaining)
        self.is_bucket = self.is_bucket or missing < batch.answers / 2
        came_back_per_s = (batch.answers - missing) / took_s
        if not self.is_bucket or came_back_per_s <= 0:
            return
        self._is_measured = self._is_measured or missing > batch.answers / 4
        factor = 1.0
        if remaining < ENOUGH * self.limit:
            factor = SLOWER
        elif remaining >= PLENTY * self.limit:
            factor = FASTER if self._is_measured or came_back_per_s > SLOW_PER_S else MUCH_FASTER
        self._tried_per_s = factor * came_back_per_s

    def _unproven_per_s(self, now: float) -> float:
        """A pace that is safe though the window's length is not known."""
        countdown = self._countdown
        if self.is_bucket or countdown is None:
            return self._tried_per_s
        window_s = self._seen_s + self._rounded_s
        if window_s < LEAST_WINDOW_S or now >= countdown.ends_s + ROUNDED_S:
            return 0.0
        if self._is_window:
            return self.limit / window_s
        probes = min(PROBES, max(FEW, self.limit / 4))
        is_probing = self._answers <= probes and countdown.lowest >= FEW
        if is_probing and countdown.reset_s - self._rounded_s >= LEAST_WINDOW_S:
            return min(self.limit / window_s, PROBE_PER_S)
        return 0.0
