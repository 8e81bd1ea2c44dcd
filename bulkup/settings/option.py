"""What an option is: a field of a table, and the words and bounds that stand with it.

A table is a plain class with annotated fields. A pydantic model that inherits from it has the same fields, and checks them; the
command line reads the table alone, which loads nothing. So each option is written once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, dataclass_transform, get_args, get_type_hints

from bulkup.settings.json_values import trouble_in

__all__ = ["MISSING", "Bounds", "Option", "OptionTable", "Setting", "Table", "settings_of"]

MISSING: Any = object()
"""The default of a setting that is needed."""


@dataclass_transform(kw_only_default=True)
class OptionTable:
    """A table of options: every annotation of a subclass is `Annotated[TYPE, Option(…)]`."""


class Option(NamedTuple):
    """What a person calls a setting.

    *meaning* explains it, without the first capital and the last stop; what stands in backticks is typed as it is.
    *metavar* stands for the value behind the flag; it is empty for yes and no, and None where only the config file has the setting.
    *default* says the default where the field's own value does not.
    *name* is the flag's, with underscores, where it is not the field's.
    *key* is where the config file has it (`section.key`), where that is not the field's name.
    *parse* reads the text of a flag or of the environment, and raises `ValueError` saying what to give instead.
    *needed* says what is missing where a needed one was not given.
    *bench* is the default of `bulkup bench`, where that is another.
    *commands* are those that take the flag; a service's own option is taken by those that may speak of it.
    """

    meaning: str
    metavar: str | None = None
    default: str | None = None
    name: str = ""
    key: str = ""
    parse: Callable[[str], Any] = str
    is_list: bool = False
    needed: str = ""
    bench: str | None = None
    commands: tuple[str, ...] = ()


class Bounds:
    """What a number must be: at least *ge*, more than *gt*, at most *le*; or a text: at least *length* characters.

    To pydantic it is a group of `annotated_types`.
    """

    def __init__(
        self, *, ge: float | None = None, gt: float | None = None, le: float | None = None, length: int | None = None
    ) -> None:
        self.ge = ge
        self.gt = gt
        self.le = le
        self.length = length

    def hold(self, number: float) -> bool:
        """Whether *number* lies within them."""
        return (
            (self.ge is None or number >= self.ge)
            and (self.gt is None or number > self.gt)
            and (self.le is None or number <= self.le)
        )

    @property
    def text(self) -> str:
        """Of a number, as it follows `a number`: ` from 1 to 256`."""
        low = self.ge if self.ge is not None else self.gt
        if self.le is not None and low is not None:
            return f" from {low:,} to {self.le:,}"
        if self.le is not None:
            return f" of at most {self.le:,}"
        if self.ge is not None:
            return f" of at least {self.ge:,}"
        return "" if low is None else f" above {low:,}"

    @property
    def __is_annotated_types_grouped_metadata__(self) -> Literal[True]:
        return True

    def __iter__(self) -> Iterator[Any]:
        from annotated_types import Ge, Gt, Le, MinLen  # not for a command that only prints its help

        for kind, bound in ((Ge, self.ge), (Gt, self.gt), (Le, self.le)):
            if bound is not None:
                yield kind(bound)
        if self.length is not None:
            yield MinLen(self.length)


class _Sound:
    """That a table holds nothing but what JSON has a form for."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(_sound, handler(source))


def _sound(table: dict[str, Any]) -> dict[str, Any]:
    trouble = trouble_in(table)
    if trouble is not None:
        raise ValueError(trouble)
    return table


Table = Annotated[dict[str, Any], _Sound()]
"""A table whose keys are the user's."""


class Setting(NamedTuple):
    """One field of a table, with its option, its default (`MISSING`: it is needed) and its bounds."""

    field: str
    option: Option
    default: Any
    bounds: Bounds | None = None
    choices: tuple[str, ...] = ()
    """The values that there are, where they are few."""

    @property
    def name(self) -> str:
        """The parameter's name: the field's without its unit, unless the option says another."""
        return self.option.name or self.field.removesuffix("_s")

    @property
    def flag(self) -> str:
        """As it is typed."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return "BULKUP_" + self.name.upper()

    @property
    def key(self) -> str:
        """The key in the config file; a dot stands between a section and its key."""
        return self.option.key or self.field

    @property
    def is_needed(self) -> bool:
        """Whether it has no default."""
        return self.default is MISSING

    @property
    def has_flag(self) -> bool:
        """Whether it can be given on the command line and in the environment."""
        return self.option.metavar is not None

    @property
    def default_text(self) -> str:
        """The default as a page says it, empty where there is nothing to say."""
        if self.option.default is not None:
            return self.option.default
        match self.default:
            case None:
                return ""
            case bool():
                return f"`{str(self.default).lower()}`"
            case int() | float():
                return f"{self.default:g}"
            case StrEnum() | str() | Path():
                return f"`{self.default}`"
            case _:
                return "needed" if self.is_needed else f"`{self.default}`"

    @property
    def help(self) -> str:
        """As the help of a command says it."""
        text = f"{self.option.meaning[0].upper()}{self.option.meaning[1:]}."
        return (f"{text} Default: {self.default_text}." if self.default_text else text).replace("`", "")


def settings_of(table: type[OptionTable]) -> tuple[Setting, ...]:
    """The settings of *table*, in the order in which they are written."""
    return tuple(
        Setting(field, option, getattr(table, field, MISSING), _bounds_in(annotation), _choices_in(annotation))
        for field, annotation in get_type_hints(table, include_extras=True).items()
        for option in get_args(annotation)
        if isinstance(option, Option)
    )


def _bounds_in(annotation: Any) -> Bounds | None:
    """The bounds in *annotation*, however deep."""
    for part in get_args(annotation):
        found = part if isinstance(part, Bounds) else _bounds_in(part)
        if found is not None:
            return found
    return None


def _choices_in(annotation: Any) -> tuple[str, ...]:
    """The words of a `Literal` or an enumeration in *annotation*, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return tuple(annotation)
    found: tuple[str, ...] = ()
    for part in get_args(annotation):
        found += (part,) if isinstance(part, str) else _choices_in(part)
    return found
