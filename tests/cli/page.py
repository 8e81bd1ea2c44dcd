"""The parts of `docs/cli.md` that say what the option tables say. `python -m tests.cli.page` writes them anew."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from bulkup.cli.parameters import EACH, RUN, options_of, with_words
from bulkup.destinations.registry import BUILT_IN
from bulkup.destinations.service import Service
from bulkup.settings.option import Setting

__all__ = ["PAGE", "filled", "keys_row", "option_rows", "parts"]

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
WIDTH = 130


def parts() -> dict[str, str]:
    """What stands between the marks of each name."""
    of_services = [row for service in BUILT_IN.values() for row in option_rows(service)]
    return {
        "options of upload": _table([*of_services, *_rows(options_of("upload"))]),
        **{f"options of {command}": _listed(command) for command in ("resume", "settle", "verify", "runs", "set")},
        "keys of the config file": _sections(),
        "settings without a flag": _table(_rows(s for s in (*RUN, *EACH) if not s.has_flag), "key"),
    }


def filled(page: str) -> str:
    """*page* with every marked part as the option tables have it. Raises `AssertionError` where a mark is missing."""
    for name, text in parts().items():
        mark = re.compile(rf"(<!-- from the option tables: {name} -->\n).*?(<!-- end -->\n)", re.DOTALL)
        page, count = mark.subn(lambda found, text=text: f"{found[1]}{text}{found[2]}", page)  # type: ignore[misc]
        assert count == 1, f"{PAGE.name} has no mark for the {name}"
    return page


def option_rows(service: Service) -> list[str]:
    """What *service* adds to the options of `upload`."""
    return [
        _row(setting, f"{service.title}: {setting.option.meaning}")
        for setting in (*service.own_settings, service.url_setting)
    ]


def keys_row(service: Service) -> str:
    """The keys that the section of *service* alone has."""
    every = {setting.field for setting in EACH}
    fields = service.settings.model_fields.items()
    return _keys(f"`[{service.name}]` only", [field.alias or name for name, field in fields if name not in every])


def _table(rows: Iterable[str], what: str = "option") -> str:
    return "".join(f"{line}\n" for line in (f"| {what} | meaning | default |", "| --- | --- | --- |", *rows))


def _row(setting: Setting, meaning: str) -> str:
    default = with_words(setting.default_text, tuple(BUILT_IN.values()))
    return f"| {_typed(setting)} | {meaning} | {default} |".replace("|  |", "| |")


def _rows(settings: Iterable[Setting]) -> list[str]:
    return [_row(setting, setting.option.meaning) for setting in settings]


def _typed(setting: Setting) -> str:
    if not setting.has_flag:
        return f"`{setting.key}`"
    metavar = (setting.option.metavar or "").replace("|", "\\|")
    return f"`{setting.flag} {metavar}`" if metavar else f"`{setting.flag}`"


def _listed(command: str) -> str:
    return _wrapped([f"`{setting.flag}`" for setting in options_of(command)])


def _sections() -> str:
    sections: dict[str, list[str]] = {}
    for setting in RUN:
        section, _, key = setting.key.rpartition(".")
        sections.setdefault(section, []).append(key)
    rows = [_keys("top level", ["to", "ca_file", *sections.pop("")])]
    rows += [_keys(f"`[{section}]`", keys) for section, keys in sections.items()]
    rows.append(_keys(" and ".join(f"`[{name}]`" for name in BUILT_IN), [setting.key for setting in EACH]))
    rows += map(keys_row, BUILT_IN.values())
    return "".join(f"{line}\n" for line in ("| where | keys |", "| --- | --- |", *rows))


def _keys(where: str, keys: Iterable[str]) -> str:
    return f"| {where} | {', '.join(f'`{key}`' for key in keys)} |"


def _wrapped(words: list[str]) -> str:
    lines = [""]
    for place, word in enumerate(words):
        piece = word + (", " if place < len(words) - 1 else ".")
        if len(lines[-1]) + len(piece.rstrip()) > WIDTH:
            lines.append("")
        lines[-1] += piece
    return "".join(f"{line.rstrip()}\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
