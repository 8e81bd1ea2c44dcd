"""Sizes, times, addresses and limits as people write them."""

from __future__ import annotations

import pytest

from bulkup.settings.quantities import host_and_port, limit_of, parse_seconds, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("8388608", 8_388_608), ("8MiB", 8 << 20), ("8 mb", 8_000_000), ("1.5kB", 1500), ("7.9TiB", round(7.9 * 2**40))],
)
def test_a_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "8 M", "8MiBs", "1e9", "9223372036854775808", "99999999TiB", "9" * 400])
def test_what_is_no_size(text: str) -> None:
    """A larger one would not fit into a counter of 64 bits."""
    with pytest.raises(ValueError, match="a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30.0), ("30s", 30.0), ("1.5m", 90.0), ("2 h", 7200.0), ("500ms", 0.5)]
)
def test_a_time(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1d", "inf", "nan", "1e3", "9" * 400])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="a time"):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("10.0.0.5:7420", "10.0.0.5", 7420), ("a-b.example:0", "a-b.example", 0), ("[::1]:65535", "::1", 65_535)],
)
def test_an_address(text: str, host: str, port: int) -> None:
    assert host_and_port(text) == (host, port)


@pytest.mark.parametrize("text", ["", "7420", "host", "host:", "::1:7420", "host:65536", "host:-1", "user@host:1"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        host_and_port(text)


@pytest.mark.parametrize(
    ("text", "what", "limit"),
    [("2h", "seconds", 7200.0), ("10GB", "bytes", 1e10), ("1Mrows", "rows", 1e6), ("250 rows", "rows", 250.0)],
)
def test_a_limit(text: str, what: str, limit: float) -> None:
    assert limit_of(text) == (what, limit)


@pytest.mark.parametrize("text", ["", "100", "rows", "10 parsecs"])
def test_what_is_no_limit(text: str) -> None:
    """A number alone may be anything."""
    with pytest.raises(ValueError, match="a limit"):
        limit_of(text)
