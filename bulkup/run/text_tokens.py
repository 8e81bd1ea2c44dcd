"""How many tokens the texts of a source's rows are: counted by a tokenizer of the user's, or estimated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from bulkup.encoding import RowOptions
from bulkup.encoding.decision import readable_rows
from bulkup.errors import SourceUnreadable, UsageProblem
from bulkup.light_dataclass import dataclass
from bulkup.model import Block
from bulkup.refusal import Refusal, attempt
from bulkup.scan.spread import Part, spread_over
from bulkup.sources import Source, open_files

__all__ = ["Counter", "TextTokens", "counter_of", "text_tokens"]

_LOOKED_AT_BYTES = 8 * 1024 * 1024
_CHARACTERS_A_TOKEN = 4
"""Of English, by the tokenizers of today's models; a tokenizer of one's own tells better."""

Counter = Callable[[Sequence[str]], int]
"""How many tokens some texts are in all."""


@dataclass(frozen=True, slots=True)
class TextTokens:
    """*count* tokens; *is_estimate*: not every text was counted, or no tokenizer did it."""

    count: int
    is_estimate: bool


def counter_of(tokenizer: Path | None) -> Counter:
    """What counts by the file *tokenizer* (a `tokenizer.json`), or by the number of characters. Raises `UsageProblem`."""
    if tokenizer is None:
        return lambda texts: sum(map(len, texts)) // _CHARACTERS_A_TOKEN
    try:
        from tokenizers import Tokenizer  # an extra
    except ImportError:
        raise UsageProblem("--tokenizer needs the package tokenizers: pip install 'bulkup[tokens]'") from None
    made = attempt(Tokenizer.from_file, str(tokenizer))
    if isinstance(made, Refusal):
        raise UsageProblem(f"--tokenizer {tokenizer}: it is no tokenizer.json that can be read ({made.why})")

    def count(texts: Sequence[str]) -> int:
        return sum(len(found.ids) for found in made.encode_batch(list(texts), add_special_tokens=False))

    return count


async def text_tokens(source: Source, options: RowOptions, count: Counter, *, is_exact: bool) -> TextTokens | None:
    """The tokens in all texts of the rows of *source*, as *count* tells; None for standard input. Of a large source some parts are
    looked at. *is_exact*: *count* does not estimate. It blocks the event loop between blocks."""
    if not source.rereadable:
        return None
    parts = spread_over(source.files, _LOOKED_AT_BYTES)
    found = looked_at = 0
    for part in parts or [Part(number, 0, 2**62, 2**62) for number in range(len(source.files))]:
        file = source.files[part.file]
        cursor = open_files((file,), max_row_bytes=options.max_row_bytes).cursor()
        try:
            async with aclosing(cursor.read(part.start, part.stop)) as items:
                async for item in items:
                    if isinstance(item, Block):
                        found += count([text for row in readable_rows(item, options) for text in _texts(row)])
                    if cursor.progress >= part.most_bytes:
                        break
        except SourceUnreadable:
            pass  # what came before counts
        finally:
            looked_at += cursor.progress if part.stop == 2**62 else part.stop - part.start
            await cursor.aclose()
    if parts is None:
        return TextTokens(found, not is_exact)
    total = sum(file.size or 0 for file in source.files)
    return TextTokens(found * total // max(1, looked_at), is_estimate=True)


def _texts(value: Any) -> Iterator[str]:
    """Every string in *value* that is no key."""
    left = [value]
    while left:
        part = left.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict):
            left.extend(part.values())
        elif isinstance(part, list):
            left.extend(part)
