"""The table "What an answer means", line by line."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.errors import ExitCode
from bulkup.outcome import CloseGate, InDoubt, Outcome, RowsRefused, StopLane, TokenRejected, TooLarge
from bulkup.transport.classify import MAX_RETRY_AFTER_S, BadRequest, classify_status, counts_early, retry_after_s

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
BOTH = tuple(BadRequest)


def classified(
    status: int,
    bad_request: BadRequest = BadRequest.NOTHING_STORED,
    headers: Mapping[str, str] | None = None,
    *,
    words: str = "words",
) -> Outcome:
    return classify_status(status, headers or {}, words, bad_request=bad_request, now=NOW)


def by_a_gateway(status: int) -> Outcome:
    return classify_status(status, {}, "words", bad_request=BadRequest.OPEN, now=NOW, by_gateway=True)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, TokenRejected),
        *((status, StopLane) for status in (402, 403, 404, 405, 406, 410, 411, 414, 415, 417, 418, 421, 431, 451, 499)),
        *((status, StopLane) for status in (300, 301, 302, 303, 304, 307, 308, 501, 505)),
        (413, TooLarge),
        (422, RowsRefused),
        (429, CloseGate),
        *((status, InDoubt) for status in (408, 409, 500, 502, 503, 504, 520, 521, 522, 523, 524, 525, 526, 527, 599)),
        *((status, InDoubt) for status in (202, 203, 204, 205, 206, 208)),
    ],
)
@pytest.mark.parametrize("bad_request", BOTH)
def test_what_a_status_means(status: int, kind: type[Outcome], bad_request: BadRequest) -> None:
    """The same for both services."""
    outcome = classified(status, bad_request)
    assert isinstance(outcome, kind)
    assert not isinstance(outcome, StopLane | TokenRejected) or outcome.reason.startswith(f"HTTP {status}: words")


@pytest.mark.parametrize(
    "expected",
    [
        InDoubt("HTTP 408: words"),
        InDoubt("HTTP 409: words"),
        TooLarge("HTTP 413: words"),
        RowsRefused("HTTP 422: words"),
        InDoubt("HTTP 500: words"),
        InDoubt("HTTP 502: words"),
        InDoubt("HTTP 503: words"),
        InDoubt("HTTP 599: words"),
        InDoubt("HTTP 204: words: an answer that the service's reference does not have"),
    ],
)
def test_the_services_words_are_the_reason(expected: InDoubt | TooLarge | RowsRefused) -> None:
    """And what is in doubt by a status was not refused: its body may still be on its way."""
    status = int(expected.reason.split()[1].removesuffix(":"))
    assert classified(status) == expected


def test_an_answer_without_words_is_its_status() -> None:
    assert classified(500, words="") == InDoubt("HTTP 500")


def test_a_400_is_a_matter_of_the_service() -> None:
    """Nebius stores nothing; of Collinear it is open, and nothing is on its way."""
    assert classified(400, BadRequest.NOTHING_STORED) == RowsRefused("HTTP 400: words")
    assert classified(400, BadRequest.OPEN) == InDoubt(
        "HTTP 400: words (whether part of the chunk was stored is not documented)", was_answered=True
    )


@pytest.mark.parametrize("status", [404, 405, 410, 418, 451, 499])
def test_a_gateways_refusal_may_pass_and_the_services_own_does_not(status: int) -> None:
    said = f"HTTP {status}: words. Check the URL and the options"
    assert classified(status) == StopLane(said, ExitCode.USAGE, may_pass=False)
    assert by_a_gateway(status) == StopLane(said, ExitCode.USAGE, may_pass=True)


def test_so_it_is_with_a_403_and_a_gateway_says_nothing_of_the_token() -> None:
    said = "HTTP 403: words. The token lacks permission for this"
    assert classified(403) == StopLane(said, ExitCode.NO_PERMISSION, may_pass=False)
    assert by_a_gateway(403) == StopLane("HTTP 403: words", ExitCode.NO_PERMISSION, may_pass=True)


@pytest.mark.parametrize("status", [301, 402, 407, 501, 505])
def test_what_does_not_pass_whoever_answered(status: int) -> None:
    """A proxy wants a password, an account is empty, a URL is wrong."""
    outcome = by_a_gateway(status)
    assert isinstance(outcome, StopLane)
    assert not outcome.may_pass


EARLY = {401, 402, 403, 404, 405, 413, 415, 429, *range(300, 400)}


@pytest.mark.parametrize("retry_after", [None, "soon"])
def test_only_these_answers_count_before_the_body_was_sent_whole(retry_after: str | None) -> None:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    assert {status for status in range(100, 1000) if counts_early(status, headers)} == EARLY


@pytest.mark.parametrize("value", ["0", "17", "Sun, 01 Mar 2026 12:00:30 GMT"])
def test_a_503_counts_early_where_it_says_how_long_to_wait(value: str) -> None:
    """With or without a date of its own."""
    assert {status for status in range(100, 1000) if counts_early(status, {"Retry-After": value})} == EARLY | {503}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (402, ExitCode.NO_PERMISSION),
        (403, ExitCode.NO_PERMISSION),
        (404, ExitCode.USAGE),
        (307, ExitCode.USAGE),
        (415, ExitCode.USAGE),
        (501, ExitCode.USAGE),
    ],
)
def test_what_stops_a_lane_says_with_which_code(status: int, code: ExitCode) -> None:
    outcome = classified(status)
    assert isinstance(outcome, StopLane)
    assert outcome.exit_code is code


@given(st.integers(100, 999), st.sampled_from(BOTH))
def test_every_status_has_a_meaning_and_no_unknown_one_is_free(status: int, bad_request: BadRequest) -> None:
    """Only what the table names counts as not stored: everything else above 499 or below 300 is in doubt."""
    outcome = classified(status, bad_request)
    if status < 300 or (status >= 500 and status not in (501, 505)):
        assert isinstance(outcome, InDoubt)
    assert "\n" not in outcome.reason
    assert str(status) in outcome.reason


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("17", 17),
        (" 17 ", 17),
        ("1.5", 1.5),
        ("900", 900),
        ("99999999", MAX_RETRY_AFTER_S),
        ("9" * 400, MAX_RETRY_AFTER_S),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30),
        ("Sunday, 01-Mar-26 12:00:30 GMT", 30),
        ("Sun, 01 Mar 2026 13:00:30 +0100", 30),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30),  # of no known zone: taken as UTC
        ("Sun, 01 Mar 2026 12:00:30", 30),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
        ("Sun, 01 Mar 2037 12:00:00 GMT", MAX_RETRY_AFTER_S),
    ],
)
def test_retry_after_in_both_forms_closes_the_gate(status: int, value: str, seconds: float) -> None:
    outcome = classified(status, headers={"Retry-After": value})
    assert isinstance(outcome, CloseGate)
    assert outcome.wait_s == seconds


def test_a_date_counts_from_the_answers_own_date() -> None:
    """The clocks of two machines are not compared."""
    headers = {"Retry-After": "Thu, 05 Feb 2015 08:00:20 GMT", "Date": "Thu, 05 Feb 2015 08:00:00 GMT"}
    assert retry_after_s(headers, NOW) == 20
    assert retry_after_s({**headers, "Date": "soon"}, NOW) == 0


def test_a_used_up_quota_is_told_apart_from_trouble() -> None:
    """Both close the gate; only a 429 says something of the rate."""
    headers = {"Retry-After": "3"}
    assert classified(429, headers=headers) == CloseGate("HTTP 429: words", 3, over_quota=True)
    assert classified(503, headers=headers) == CloseGate("HTTP 503: words", 3, over_quota=False)


GARBAGE = ["", "  ", "soon", "-1", "1e3", "0x10", "١٢", "1.2.3", ".", "nan", "inf", "17 s", "Mon, 99 Foo 2026"]


@pytest.mark.parametrize("value", GARBAGE)
def test_a_retry_after_that_cannot_be_read_counts_as_absent(value: str) -> None:
    """A 429 still closes the gate; a 503 without it says nothing of storage."""
    assert retry_after_s({"Retry-After": value}, NOW) is None
    assert classified(429, headers={"Retry-After": value}) == CloseGate("HTTP 429: words", None, over_quota=True)
    assert isinstance(classified(503, headers={"Retry-After": value}), InDoubt)


UNREAL = [
    "Wed, 21 Oct 99999999999999999999 07:28:00 GMT",
    "Wed, 21 Oct 2015 07:28:00 +999999999999999",
    "Wed, 99999999999999999999 Oct 2015 07:28:00 GMT",
    "Wed, 21 Oct 2015 99999999999999999999:28:00 GMT",
    "Fri, 31 Dec 9999 23:59:59 -2359",
]


@pytest.mark.parametrize("value", UNREAL)
@pytest.mark.parametrize("name", ["Retry-After", "Date"])
def test_a_date_that_is_none_does_not_end_the_lane(value: str, name: str) -> None:
    """What a service sends never raises."""
    found = retry_after_s({"Retry-After": "Sun, 01 Mar 2026 12:00:30 GMT", name: value}, NOW)
    assert found is None or 0 <= found <= MAX_RETRY_AFTER_S


words = st.sampled_from(
    ["Wed,", "21", "Oct", "2015", "07:28:00", "GMT", "+0100", "-99999", ":", "", "9" * 30, ",", "("]
)


@given(st.text(max_size=30) | st.lists(words, max_size=8).map(" ".join), st.text(max_size=20))
def test_no_header_raises(value: str, date: str) -> None:
    found = retry_after_s({"Retry-After": value, "Date": date}, NOW)
    assert found is None or 0 <= found <= MAX_RETRY_AFTER_S


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1)),  # noqa: DTZ001 - the zone is given below
    st.integers(-86_400, 86_400),
    st.integers(-14, 14),
)
def test_any_two_dates_give_their_difference(until: datetime, apart: int, hours: int) -> None:
    """Whatever the zone each is written in."""
    until = until.replace(microsecond=0, tzinfo=UTC)
    since = (until - timedelta(seconds=apart)).astimezone(timezone(timedelta(hours=hours)))
    headers = {"Retry-After": format_datetime(until, usegmt=True), "Date": format_datetime(since)}
    assert retry_after_s(headers, NOW) == max(0, apart)
