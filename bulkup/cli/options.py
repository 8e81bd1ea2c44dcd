"""The names and help texts of those options that are no settings: what a command alone has. Here their values are text.

Words in braces stand for what the services say: see `parameters`.
"""

from __future__ import annotations

from typing import Annotated

import typer

from bulkup.cli.completion import of_destinations

__all__ = [
    "Absent",
    "BenchMaxWait",
    "Chunk",
    "Concurrencies",
    "Config",
    "DryRun",
    "Endpoint",
    "Json",
    "Landed",
    "Lane",
    "MaxBytes",
    "MaxRequests",
    "Quiet",
    "Sample",
    "Seed",
    "Sizes",
    "Source",
    "Sources",
    "To",
    "Tokenizer",
    "Url",
    "Verbose",
    "WriteConfig",
    "Yes",
]

Text = str | None


def _option(flag: str, metavar: str, text: str) -> typer.models.OptionInfo:
    made: typer.models.OptionInfo = typer.Option(flag, metavar=metavar, help=text, show_default=False)
    return made


Sources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE",
        show_default=False,
        help="Files, folders or globs of JSON lines or JSON arrays, plain or packed; - is standard input (cannot be resumed).",
    ),
]
To = Annotated[
    list[str] | None,
    typer.Option(
        "--to",
        metavar="DEST",
        help="{destinations}; repeatable. Default: the config file's sections.",
        show_default=False,
        autocompletion=of_destinations,
    ),
]
Config = Annotated[Text, _option("--config", "FILE", "A TOML file; see docs/cli.md and configs/.")]
Tokenizer = Annotated[
    Text,
    _option(
        "--tokenizer",
        "FILE",
        "Count tokens by this tokenizer.json (needs the package tokenizers). Default: an estimate, by the number of characters.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Send nothing: say what would be sent, as `bulkup check` does.")
]
Chunk = Annotated[Text, _option("--chunk", "N", "A chunk in doubt, as `bulkup status` names it: 00042, or 00042-003.")]
Landed = Annotated[bool, typer.Option("--landed", help="You know that the chunk is stored.")]
Absent = Annotated[
    bool, typer.Option("--absent", help="You know that the chunk is not stored: `bulkup resume` sends it again.")
]
Lane = Annotated[
    Text, _option("--lane", "DEST", "The destination of the chunk: {destinations}. Needed if several have it in doubt.")
]
Sample = Annotated[
    Text,
    _option("--sample", "SHARE", "The share of the chunks whose contents are compared; 1.0 is all. Default: 0.05."),
]
Seed = Annotated[Text, _option("--seed", "N", "The same seed chooses the same chunks. Default: a new seed each time.")]
Endpoint = Annotated[
    str,
    typer.Option("--to", metavar="DEST", help="{destinations}.", show_default=False, autocompletion=of_destinations),
]
Url = Annotated[Text, _option("--url", "URL", "Base URL. Default: the service's own, or the config file's.")]
Source = Annotated[
    Text, _option("--source", "FILE", "Send the rows of this file, again and again. Default: made-up rows.")
]
Sizes = Annotated[
    Text,
    _option(
        "--sizes",
        "LIST",
        "Chunk sizes to try, such as 1MiB,4MiB. Default: the destination's largest, 1/4 and 1/16 of it.",
    ),
]
Concurrencies = Annotated[
    str, typer.Option("--concurrencies", metavar="LIST", help="Numbers of requests at once to try.")
]
MaxRequests = Annotated[str, typer.Option("--max-requests", metavar="N", help="The most requests to send.")]
MaxBytes = Annotated[str, typer.Option("--max-bytes", metavar="SIZE", help="The most bytes to send, such as 256MiB.")]
BenchMaxWait = Annotated[
    str, typer.Option("--max-wait", metavar="SECONDS", help="Stop if the service asks for a longer wait than this.")
]
WriteConfig = Annotated[
    Text,
    _option(
        "--write-config",
        "FILE",
        "Write the best setting into this TOML file. Everything else in it stays, comments too.",
    ),
]
Yes = Annotated[
    bool, typer.Option("--yes", help="Do not ask before using up quota at a service that is not on this machine.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        show_default=False,
        help="Show what becomes of each chunk, and tracebacks; -vv each request too.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no table, only what went wrong.")]
