from __future__ import annotations

from collections.abc import Iterator

import pytest

from bulkup.sources.places import place
from tests.cli.conftest import emulator, gsm8k, one_emulator, rows, shell
from tests.places.servers import AWS, S3, Hub, Web

__all__ = ["emulator", "gsm8k", "one_emulator", "rows", "shell"]


@pytest.fixture(autouse=True)
def _no_credentials_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    for name in (
        "AWS_PROFILE",
        "AWS_SESSION_TOKEN",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "HF_TOKEN",
        "HF_ENDPOINT",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    yield
    place.close_all()


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    with server.running():
        yield server


@pytest.fixture(scope="session")
def one_s3() -> Iterator[S3]:
    server = S3()
    with server.running():
        yield server


@pytest.fixture
def s3(one_s3: S3) -> S3:
    one_s3.empty()
    return one_s3


@pytest.fixture
def hub(web: Web) -> Iterator[Hub]:
    server = Hub(store=web)
    with server.running():
        yield server
