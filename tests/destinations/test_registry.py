"""What services say of themselves: complete, the same wherever it is said, and on the pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bulkup.destinations.base import Destination
from bulkup.destinations.registry import BUILT_IN, service_names
from bulkup.destinations.service import Service
from bulkup.destinations.settings import DestinationSettings
from bulkup.tokens.secret import Token
from bulkup.tokens.token_source import TokenSource
from bulkup.transport import Transport
from tests.cli.page import keys_row, option_rows
from tests.thirdparty.bulkup_thirdparty import THIRDPARTY

DOCS = Path(__file__).parents[2] / "docs"
SERVICES = [*BUILT_IN.values(), THIRDPARTY]
each = pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)


def needed(service: Service) -> dict[str, str]:
    values = {"space_id": "3c90c3cc-0d44-4b50-8888-8dd25736052a", "box": "b"}
    return {setting.field: values[setting.field] for setting in service.own_settings if setting.is_needed}


@each
def test_settings_are_of_the_service_and_options_fill_them(service: Service) -> None:
    model = service.settings
    assert model.service == service.name
    made = model.model_validate(needed(service))
    assert made.url == service.url
    assert issubclass(model, service.options)
    for setting in (*service.own_settings, service.url_setting):
        assert setting.has_flag
        assert model.model_fields[setting.field].is_required() is setting.is_needed, setting
        assert bool(setting.option.needed) is setting.is_needed, setting


@each
def test_what_says_where_and_what_changes_rows_is_the_identity(service: Service) -> None:
    """Every setting of a service's own is in the run's id, or is known to concern the pace alone."""
    pace = {"pending_timeout_s"}
    made = service.settings.model_validate(needed(service))
    own = {
        field.alias or name
        for name, field in service.settings.model_fields.items()
        if name not in DestinationSettings.model_fields
    }
    assert own - made.identity().keys() <= pace | set(made.later_row_settings)
    assert set(made.dataset("name").place) == set(made.place)
    assert all(str(value) in made.where() for value in needed(service).values())


@each
def test_a_dataset_is_the_same_only_at_the_same_place(service: Service) -> None:
    made = service.settings.model_validate(needed(service))
    record = made.model_dump(mode="json", by_alias=True)
    assert made.is_same_dataset(record)
    assert made.is_same_dataset(record | {"url": record["url"] + "/", "concurrency": 1})
    assert not made.is_same_dataset(record | {"url": "http://127.0.0.1:1"})
    for field in made.place:
        assert not made.is_same_dataset(record | {field: "elsewhere"})


@each
def test_the_destination_is_as_the_service_says(service: Service) -> None:
    settings = service.settings.model_validate(needed(service))
    token = TokenSource.of(Token(""))
    made = service.destination(settings.dataset("rows"), Transport(settings.url, user_agent="bulkup/test"), token)
    assert (made.name, made.target.name, made.target.title) == (service.name, service.name, service.title)
    assert made.policy is service.policy
    can = made.capabilities
    assert (can.max_chunk_bytes, can.max_chunk_rows) == (service.max_chunk_bytes, service.max_chunk_rows)
    assert (made.dataset_name, made.token) == ("rows", token)
    assert settings.url in made.identity
    assert service.max_chunk_bytes % (1 << 20) == 0
    assert service.assumptions


def test_a_service_has_its_rows_on_the_page() -> None:
    assert option_rows(THIRDPARTY) == [
        "| `--box BOX` | Third Party: the box | needed |",
        "| `--thirdparty-url URL` | Third Party: base URL | http://127.0.0.1:9 |",
    ]
    assert keys_row(THIRDPARTY) == "| `[thirdparty]` only | `box` |"


def test_the_page_on_adding_one_names_every_member_and_is_a_page() -> None:
    page = (DOCS / "destinations.md").read_text(encoding="utf-8")
    assert len(page.splitlines()) < 70
    members = {*Service.__dict__, *Service.__annotations__, *Destination.__dict__, *DestinationSettings.__dict__}
    named = {word for code in re.findall(r"`([^`]+)`", page) for word in re.findall(r"\w+", code)}
    own = {name for name in members if not name.startswith("_") and not name.startswith("model_")}
    assert own - named <= {"dataset", "is_same_dataset"}, "which nobody overrides"


def test_others_names_come_behind_the_built_in_ones() -> None:
    assert service_names()[: len(BUILT_IN)] == tuple(BUILT_IN) == ("nebius", "collinear")
