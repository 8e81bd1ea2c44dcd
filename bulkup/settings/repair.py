"""What `--repair` repairs in a row before anything else is made of it."""

from enum import StrEnum

__all__ = ["Repair", "parse_repairs", "repairs_in"]


class Repair(StrEnum):
    """One kind of fault, and what becomes of it."""

    DUPLICATE_KEYS = "duplicate-keys=last"
    NAN = "nan=null"
    SURROGATES = "surrogates=replace"


def repairs_in(text: str) -> tuple[Repair, ...]:
    """The repairs that *text* names, with commas between them, in a fixed order. Raises `ValueError`."""
    words = {word.strip() for word in text.split(",") if word.strip()}
    unknown = sorted(words - set(Repair))
    if unknown:
        raise ValueError(f"there is no repair {unknown[0]!r}; there are {', '.join(Repair)}, with commas between them")
    return tuple(repair for repair in Repair if repair in words)


def parse_repairs(text: str) -> str:
    """*text* with its repairs in a fixed order. Raises `ValueError`."""
    return ",".join(repairs_in(text))
