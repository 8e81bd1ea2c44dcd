"""What headers say of quotas, in each form that services use, and whatever else may stand there."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.pacing import Quota, QuotaTold, quotas_told

NOW = 1_800_000_000.0
NAMES = (
    *(
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
        "x-ratelimit-limit",
    ),
    *("x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit", "ratelimit-policy", "ratelimit-limit"),
    *("ratelimit-remaining", "ratelimit-reset", "date"),
)


def reset(text: str, date: str | None = None) -> float | None:
    headers = {
        "x-ratelimit-limit-requests": "50",
        "x-ratelimit-remaining-requests": "49",
        "x-ratelimit-reset-requests": text,
    }
    (told,) = quotas_told(headers | ({"date": date} if date else {}), NOW)
    return told.reset_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5),
        ("0", 0),
        ("0.25", 0.25),
        ("6m0s", 360),
        ("1h2m3.5s", 3723.5),
        ("20ms", 0.02),
        ("1d", 86_400),
        ("1.234567891s", 1.234567891),
        ("1800000005", 5),
        ("1800000005.5", 5.5),
        ("1800000005250", 5.25),
        ("1700000000", 0),
        (formatdate(NOW + 7, usegmt=True), 7),
        ("2027-01-15T08:00:09Z", 9),
        ("2027-01-15T08:00:09.5+00:00", 9.5),
        ("31536000", 31_536_000),
    ],
)
def test_a_reset_is_read_in_every_form(text: str, seconds: float) -> None:
    assert reset(text) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "text", ["", "-5", "nan", "inf", "1e400", "9" * 40, "soon", "5 s", "5;5", "٥", "1m-3s", "0x5", "s", "--", "5,5,5"]
)
def test_a_reset_that_cannot_be_read_counts_as_absent(text: str) -> None:
    assert reset(text) is None


def test_a_moment_counts_from_the_answers_own_date() -> None:
    """The clocks of two machines are not compared."""
    assert reset("1700000005", formatdate(1_700_000_000, usegmt=True)) == 5
    assert reset(formatdate(1_700_000_004, usegmt=True), formatdate(1_700_000_000, usegmt=True)) == 4
    assert reset("12", "soon") == 12


D = "ietf default"


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        (
            {"ratelimit-policy": '"default";q=100;w=10', "ratelimit": '"default";r=50;t=3'},
            [QuotaTold(100, 50, 3, 10, D)],
        ),
        (
            {"ratelimit-policy": '"burst";q=10;w=1,\t"daily";w=86400;q=1000', "ratelimit": '"daily";r=9;t=30'},
            [QuotaTold(10, None, None, 1, "ietf burst"), QuotaTold(1000, 9, 30, 86_400, "ietf daily")],
        ),
        ({"ratelimit-policy": 'default;q=5;w=2;comment="a, b;c"'}, [QuotaTold(5, None, None, 2, D)]),
        ({"ratelimit-policy": '"default";q=5;pk=:c2FsdA==:;other=?0;w=2'}, [QuotaTold(5, None, None, 2, D)]),
        ({"ratelimit-policy": '"default";q=5;qu="requests"'}, [QuotaTold(5, None, None, None, D)]),
        ({"ratelimit-policy": '"a";q=5;w=1;qu="content-bytes", "b";q=9;w=3'}, [QuotaTold(9, None, None, 3, "ietf b")]),
        ({"ratelimit": '"default";r=50;t=30'}, [QuotaTold(None, 50, 30, None, D)]),
        ({"ratelimit": '"default";r=50;t=30, "default";r=7;t=2'}, [QuotaTold(None, 7, 2, None, D)]),
        (
            {"ratelimit": "limit=100, remaining=50, reset=50", "ratelimit-policy": "100;w=60, 10;w=1"},
            [QuotaTold(100, 50, 50, 60, "ietf 100"), QuotaTold(10, None, None, 1, "ietf 10")],
        ),
        ({"ratelimit": "limit=100, remaining=50, reset=50"}, [QuotaTold(100, 50, 50, None, "limit")]),
        (
            {"ratelimit-limit": "10, 10;w=1, 50;w=60", "ratelimit-remaining": "9", "ratelimit-reset": "1"},
            [QuotaTold(10, 9, 1, 1, "ietf 10"), QuotaTold(50, None, None, 60, "ietf 50")],
        ),
        (
            {"x-ratelimit-limit": "60", "x-ratelimit-remaining": "59", "x-ratelimit-reset": "1800000030"},
            [QuotaTold(60, 59, 30)],
        ),
        (
            {
                "x-ratelimit-limit-requests": "60, 100",
                "x-ratelimit-remaining-requests": "9, 8",
                "x-ratelimit-reset-requests": "5, 6m0s",
            },
            [QuotaTold(60, 9, 5), QuotaTold(100, 8, 360, name="1")],
        ),
        ({"x-ratelimit-limit-requests": "60, 100", "x-ratelimit-remaining-requests": "9"}, [QuotaTold(60, None, None)]),
    ],
)
def test_each_form_is_read(headers: dict[str, str], told: list[QuotaTold]) -> None:
    assert list(quotas_told(headers, NOW)) == told


@pytest.mark.parametrize(
    "text",
    [
        *('"default";q=100;w=10,', '"default";q=100;w=10 "b";q=1', '"default";q=;w=10', '"default;q=100', "é;q=5"),
        *('"default";q=-5;w=10', '"default";q=0;w=10', '"default";q=nan', '"default";q=1e400', f'"d";q={10**30};w=1'),
        *(
            '("default");q=5',
            '"default";Q=5',
            ";q=5",
            ",",
            '"default"',
            '"a";q=5;w=1, "b";q=@',
            "x" * 5000,
            '"a";q=5' * 999,
        ),
    ],
)
def test_a_policy_that_is_malformed_or_absurd_counts_as_absent(text: str) -> None:
    """The whole field where it is no structured field: that is its own rule (RFC 9651, 4.2)."""
    assert quotas_told({"ratelimit-policy": text}, NOW) == ()


@pytest.mark.parametrize("text", ['"d";q=5;w=0', '"d";q=5;w=-1', '"d";q=5;w="1"'])
def test_a_window_of_nothing_is_one_that_is_not_told(text: str) -> None:
    assert quotas_told({"ratelimit-policy": text}, NOW) == (QuotaTold(5, None, None, None, "ietf d"),)


bits = st.sampled_from(
    [
        *(
            '"default"',
            "default",
            ";q=",
            ";w=",
            ";r=",
            ";t=",
            "limit=",
            "remaining=",
            "reset=",
            ",",
            ", ",
            ";",
            "=",
            '"',
            "\\",
        ),
        *(
            "0",
            "1",
            "50",
            "-1",
            "1e400",
            "nan",
            "9" * 15,
            "9" * 40,
            "0.001",
            "6m0s",
            "20ms",
            "1800000005",
            "(",
            ")",
            ":",
            "?1",
        ),
        *("Sat, 28 Nov 2026 19:00:00 GMT", "9999-12-31T23:59:59Z", "\x00", "é", "٥"),
    ]
)


@given(st.dictionaries(st.sampled_from(NAMES), st.lists(bits, max_size=12).map("".join) | st.text(max_size=30)))
def test_whatever_stands_there_nothing_is_raised_and_nothing_stops(headers: dict[str, str]) -> None:
    quota = Quota()
    for at in range(3):
        told = quotas_told(headers, NOW)
        quota.headers(float(at), *told, late_s=0.1)
        pace = quota.per_minute(float(at))
        assert (pace is not None) == bool(told)
        assert pace is None or pace > 0.05


@pytest.mark.parametrize(
    ("name", "entry"), [("ratelimit-policy", '"a";q=9;w=60'), ("ratelimit", "limit=9"), ("x-ratelimit-limit", "9")]
)
def test_what_passes_4_kib_is_not_read(name: str, entry: str) -> None:
    """It would be good otherwise."""
    assert quotas_told({name: entry}, NOW)
    assert quotas_told({name: ",".join([entry] * 300)}, NOW)
    assert not quotas_told({name: ",".join([entry] * 4096)}, NOW)


def test_a_field_of_64_kib_takes_no_time() -> None:
    """Nothing is matched again and again."""
    for text in (
        '"' * 65_536,
        '"a' + "\\" * 65_536,
        ";q=1" * 16_384,
        '"a"' + ";q" * 2000,
        "1," * 2000,
        "a" * 4096,
        '"a";' * 1000,
    ):
        assert len(quotas_told({"ratelimit-policy": text, "ratelimit": text, "x-ratelimit-limit": text}, NOW)) <= 1
