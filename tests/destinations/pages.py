"""What a service says of itself, as the rows of the pages' tables."""

from __future__ import annotations

from bulkup.destinations.service import Service
from bulkup.destinations.settings import DestinationSettings

__all__ = ["keys_row", "option_rows"]


def option_rows(service: Service) -> list[str]:
    """Of the table of `upload`'s options in `docs/cli.md`."""
    rows = []
    for option in service.options:
        default = "needed" if option.default is None else option.default
        field = service.settings.model_fields[option.setting]
        if field.default == option.default and option.default is not None:
            default = f"`{default}`"  # the value itself, not words for it
        rows.append(f"| `{option.flag} {option.metavar}` | {service.title}: {option.meaning} | {default} |")
    return rows


def keys_row(service: Service) -> str:
    """Of the table of the config file's keys: those that only this section has."""
    own = [
        field.alias or name
        for name, field in service.settings.model_fields.items()
        if name not in DestinationSettings.model_fields
    ]
    return f"| `[{service.name}]` only | {', '.join(f'`{key}`' for key in own)} |"
