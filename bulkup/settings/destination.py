"""The options that every destination has. Sizes are in bytes, rates per unit of time as named.

Annotations are values here: the command line reads them.
"""

from pathlib import Path
from typing import Annotated, Literal

from bulkup.path_text import as_text
from bulkup.settings.option import Bounds, Option, OptionTable, Table
from bulkup.settings.quantities import parse_number, parse_path, parse_size, parse_whole
from bulkup.settings.repair import parse_repairs
from bulkup.settings.run import ALONE, ASKING, ON_THE_WAY

__all__ = ["DestinationOptions"]

BENCHED = ("bench",)
MAPPED = (*ASKING, "rejects", "ids")
SETTABLE = ("set",)
"""May be changed while a run works."""


class DestinationOptions(OptionTable):
    """What every destination has. None means the destination's own default, or none."""

    url: Annotated[str, Option(meaning="the base URL", default="the service's own")]
    token_file: Annotated[
        Path | None, Option(meaning="the file that holds the token; a path counts from the config file")
    ] = None
    ca_file: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            meaning="trust the certificate authorities in this PEM file too, beside the system's",
            default="`REQUESTS_CA_BUNDLE`, if it is set",
            parse=parse_path,
            commands=(*ASKING, *BENCHED),
        ),
    ] = None
    preset: Annotated[
        Literal[
            "auto",
            "identity",
            "chat",
            "sharegpt",
            "alpaca",
            "prompt-completion",
            "question-answer",
            "preference",
            "text",
        ],
        Option(
            metavar="NAME",
            meaning="the rows' shape: `auto`, `identity`, `chat`, `sharegpt`, `alpaca`, `prompt-completion`, `question-answer`, "
            "`preference`, `text`",
            commands=(*ALONE, *BENCHED),
        ),
    ] = "auto"
    turns: Annotated[
        str | None,
        Option(
            metavar="KEY",
            meaning="where the presets `chat` and `sharegpt` have their turns",
            default="`messages`, `conversations`",
            parse=as_text,
            commands=(*ALONE, *BENCHED),
        ),
    ] = None
    repair: Annotated[
        str,
        Option(
            metavar="KIND=HOW,…",
            meaning="repair rows that would be rejected, and count them: `duplicate-keys=last`, `nan=null`, `surrogates=replace`, "
            "with commas between them",
            default="none",
            parse=parse_repairs,
            commands=(*ALONE, *BENCHED),
        ),
    ] = ""
    map: Annotated[
        str | None,
        Option(
            metavar="FILE.py:FUNCTION",
            meaning="your own function makes the rows: it gets a row, and gives a row, a list of rows, or None (docs/mapping.md)",
            default="rows as they are",
            commands=MAPPED,
        ),
    ] = None
    drop: Annotated[
        tuple[str, ...],
        Option(
            metavar="KEY",
            meaning="leave this key out of every row; repeatable",
            default="",
            is_list=True,
            commands=(*ALONE, *BENCHED),
        ),
    ] = ()
    mapping: Annotated[Table | None, Option(meaning="how rows are made (docs/mapping.md)")] = None
    max_chunk_bytes: Annotated[
        Annotated[int, Bounds(ge=1024)] | None,
        Option(
            metavar="SIZE",
            meaning="the largest request body",
            default="{largest bodies}",
            parse=parse_size,
            commands=ON_THE_WAY,
        ),
    ] = None
    max_chunk_rows: Annotated[
        Annotated[int, Bounds(ge=1)] | None,
        Option(
            metavar="N",
            meaning="the most rows in one request",
            default="no limit",
            parse=parse_whole,
            commands=ON_THE_WAY,
        ),
    ] = None
    concurrency: Annotated[
        int,
        Bounds(ge=1, le=4096),
        Option(
            metavar="N",
            meaning="the most requests at once, 1 to 256, with `--listen` to 4,096; bulkup starts with 4, and sends more at once "
            "while that is faster",
            parse=parse_whole,
            commands=(*ON_THE_WAY, *SETTABLE),
        ),
    ] = 16
    requests_per_minute: Annotated[
        Annotated[float, Bounds(gt=0)] | None,
        Option(
            metavar="N",
            meaning="the quota of requests: bulkup uses all of it, and no more",
            default="what the service says, else what bulkup learns from its refusals",
            parse=parse_number,
            commands=(*ASKING, *BENCHED, *SETTABLE),
        ),
    ] = None
    rows_per_second: Annotated[
        Annotated[float, Bounds(gt=0)] | None, Option(meaning="the most rows to send in a second", default="no limit")
    ] = None
    bytes_per_second: Annotated[
        Annotated[float, Bounds(gt=0)] | None,
        Option(
            metavar="SIZE",
            meaning="the most bytes to send in a second",
            default="no limit",
            parse=parse_size,
            commands=(*ON_THE_WAY, *SETTABLE),
        ),
    ] = None
