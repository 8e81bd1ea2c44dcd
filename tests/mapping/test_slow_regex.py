"""A regex that takes too long costs its row, not the run: it is bounded, named, and a signal ends it."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.encoding import RowOptions, RowPlan, decide, searching
from bulkup.encoding.searching import TooSlow, first_groups
from bulkup.errors import ExitCode, Interrupted, UsageProblem
from bulkup.model import Block
from bulkup.rows.mapping import parse_mapping

SLOW = re.compile(r"((?:\d+)+)$")
EVIL = "1" * 60 + "z"
LONG = "a" * 1_000_000
QUADRATIC = re.compile(r"[a-z]*X(\d)")


@pytest.fixture(autouse=True)
def _short_limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(searching, "LIMIT_S", 0.05)
    searching._slow.clear()
    yield
    searching._end_all()
    searching._slow.clear()


def plan_of(*answers: str, default: Any = None) -> RowPlan:
    truth = {"path": "answer", "regex": SLOW.pattern, "cast": "integer"}
    mapping = parse_mapping(
        {
            "conv_prefix": [{"role": {"const": "user"}, "content": "question"}],
            "response": {"role": {"const": "assistant"}, "content": "question"},
            "ground_truth": truth if default is None else {**truth, "default": default},
        }
    )
    return decide(block(*answers), COLLINEAR, RowOptions(mapping=mapping))


def block(*answers: str) -> Block:
    data = b"".join(json.dumps({"question": "q", "answer": answer}).encode() + b"\n" for answer in answers)
    return Block(data, 0, len(data))


@pytest.mark.parametrize("default", [None, 7])
@pytest.mark.parametrize("where", [0, 1, 2])
def test_the_row_is_rejected_and_the_rest_goes_on(default: int | None, where: int) -> None:
    """No default stands in: what the regex would have found is not known."""
    answers = ["1", "2", "3"]
    answers.insert(where, EVIL)
    made = plan_of("1", "x 22", default=default).encoder().encode(block(*answers))
    assert [row["ground_truth"] for row in json.loads(b"[" + made.body + b"]")] == [1, 2, 3]
    (reject,) = made.rejects
    assert (reject.field, reject.line) == ("ground_truth", where)
    assert reject.reason.startswith(
        "ground_truth: the regex takes more than 0.05 s at answer, which holds the string '1111"
    )


def test_a_sample_full_of_such_rows_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(
        UsageProblem, match=r"4 rows of the first block take too long.*ground_truth: the regex takes more"
    ):
        plan_of(*[f"{i}{EVIL}" for i in range(50)])


@pytest.mark.parametrize(("pattern", "text"), [(SLOW, EVIL), (QUADRATIC, LONG)])
def test_it_ends_in_any_thread(pattern: re.Pattern[str], text: str) -> None:
    """And what was too slow once is known to be."""
    outcomes: list[object] = []

    def search() -> None:
        try:
            outcomes.append(first_groups(pattern, [text]))
        except TooSlow as slow:
            outcomes.append(slow)

    search()
    searching._slow.clear()
    thread = threading.Thread(target=search)
    thread.start()
    thread.join()
    search()
    assert [type(outcome) for outcome in outcomes] == [TooSlow] * 3


@pytest.mark.parametrize("text", ["x 12", "none", "", LONG, LONG + "7", "é" * 70_000 + "5", "\u2028\n3"])
def test_it_finds_what_python_finds(text: str) -> None:
    for pattern in (
        re.compile(r"(\d+)$"),
        re.compile(r"(x)?"),
        re.compile(r"(?i)(É)", re.MULTILINE),
        re.compile("(a{3})"),
    ):
        found = pattern.search(text)
        assert first_groups(pattern, [text, "3"])[0] == (found and found[1])


def test_a_timer_of_ones_own_comes_back() -> None:
    before = signal.signal(signal.SIGVTALRM, signal.SIG_IGN)
    try:
        first_groups(SLOW, ["1"])
        with pytest.raises(TooSlow):
            first_groups(SLOW, [EVIL])
        assert signal.getsignal(signal.SIGVTALRM) is signal.SIG_IGN
        assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    finally:
        signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)]
)
def test_a_signal_ends_one_slow_row_after_the_other(number: signal.Signals, code: ExitCode) -> None:
    """The event loop, whose handler this is, cannot look before the block is done."""
    seen: list[int] = []
    before = signal.signal(number, lambda got, _: seen.append(got))
    try:
        encoder = plan_of("1").encoder()
        os.kill(os.getpid(), number)
        assert encoder.encode(block("5")).rows == 1
        with pytest.raises(Interrupted) as caught:
            encoder.encode(block(*[f"{i}{EVIL}" for i in range(1, 500)]))
        assert caught.value.exit_code == code
        assert seen == [number]
        assert encoder.encode(block("5")).rows == 1
    finally:
        signal.signal(number, before)


def test_that_texts_looked_at_again_are_what_the_block_found() -> None:
    texts = ["a1", "b", "a2", "", "a1"]
    patterns = [re.compile("a([0-9])"), re.compile("([a-z])")]
    for _ in range(2):
        for pattern in patterns:
            whole = first_groups(pattern, texts)
            assert whole == [found and found[1] for found in map(pattern.search, texts)]
            for other in patterns:
                singly = [first_groups(other, [text])[0] for text in texts]
                assert singly == [found and found[1] for found in map(other.search, texts)]
