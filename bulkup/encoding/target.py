"""The words between the encoder and a destination: what a destination says of its rows, and the batch seams.

A *rewriter* makes lines of lines, a *codec* makes a body of lines; a *pipeline* is rewriters and a codec. Both work by
batch. What they write for a row depends on that row alone, never on its neighbours: a body is the same whether its rows
were encoded together or one by one, so that hashes hold however a chunk is cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol

import msgspec

from bulkup.encoding.faults import Fault
from bulkup.encoding.shortcuts import Shortcut
from bulkup.light_dataclass import dataclass
from bulkup.model import Block, EncodedBlock, EncodedLine, LongRow, Reject
from bulkup.refusal import Irregular

__all__ = [
    "INT64",
    "Codec",
    "ColumnPreset",
    "ColumnRows",
    "FixedRows",
    "Irregular",
    "LineEncoder",
    "Pipeline",
    "Preset",
    "Rewriter",
    "Target",
]

INT64 = msgspec.Meta(ge=-(2**63), le=2**63 - 1)
"""What both services can be trusted to hold as an integer; msgspec alone takes integers of any size."""


class Rewriter(Protocol):
    """Rows written anew, by batch."""

    def lines(self, data: bytes, rows: int) -> bytes:
        """*data* is *rows* lines, each `{…}`. The rows written anew, as many lines in the same order, no break at the
        end. Raises where a row is not taken: `Irregular`, or whatever the codec below raises; call it through `attempt`."""


class Codec(Protocol):
    """The last step: only rows that the destination takes come out."""

    @property
    def is_verbatim(self) -> bool:
        """Whether the body is the lines' own bytes, with commas for breaks."""

    @property
    def shortcuts(self) -> Sequence[Shortcut]:
        """Quicker ways to the same body, for rows in one form each."""

    def body(self, data: bytes, rows: int) -> bytes:
        """*data* is *rows* lines, each `{…}`. The rows as JSON joined by commas. Raises as `Rewriter.lines`."""


class LineEncoder(Protocol):
    """Lines made ready to send, whatever number of rows comes of each. For one thread at a time.

    *runs_user_code*: it may take any time, and is not for the event loop; between the rows *between* is called, and may raise.
    *makes_several*: of one line several rows may come.
    """

    runs_user_code: bool
    makes_several: bool
    between: Callable[[], None]

    def encode(self, block: Block) -> EncodedBlock:
        """*block* made ready. Its body is `encode_lines`'s bodies joined by commas, its rejects are `encode_lines`'s."""

    def encode_lines(self, block: Block) -> list[EncodedLine]:
        """Every line of *block* by itself, blank ones too, in order, with what came of it."""

    def reject_long(self, row: LongRow) -> Reject:
        """What is said of a row of which only the head was kept."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One way from source lines to a body. *changes* are what it has changed in the rows that it took last, where it may change
    any; of rows that it refuses they say nothing."""

    rewriters: tuple[Rewriter, ...]
    codec: Codec
    changes: Counter[str] | None = None

    @property
    def shortcuts(self) -> Sequence[Shortcut]:
        """As `Codec.shortcuts`."""
        return () if self.rewriters else self.codec.shortcuts

    def body(self, data: bytes, rows: int) -> bytes:
        """As `Codec.body`."""
        for rewriter in self.rewriters:
            data = rewriter.lines(data, rows)
        return self.codec.body(data, rows)


@dataclass(frozen=True, slots=True)
class Preset:
    """How one source shape becomes a destination's fixed shape.

    *pipelines(dropped)* are the alternatives for source rows that also hold the *dropped* keys, the compiled ones first. Each ends
    with the destination's codec, or with one whose rows need no look by it. *in_0_1* of them were there in bulkup 0.1.
    *mapped* is the same for one decoded row, plainly, with what it changes counted, or the fault that keeps it from being mapped.
    *undeclared* names the keys of a decoded source row that have no place to go.
    """

    gives: str
    pipelines: Callable[[tuple[str, ...]], tuple[Pipeline, ...]]
    in_0_1: int
    mapped: Callable[[dict[str, Any], Counter[str]], dict[str, Any] | Fault]
    undeclared: Callable[[dict[str, Any]], list[str]]


@dataclass(frozen=True, slots=True)
class FixedRows:
    """A destination whose rows have one fixed shape. `presets["identity"]` is for rows already in it.

    *codec* takes exactly the rows in that shape; *fault* says of a decoded row what keeps it from being in it. *with_turns* makes
    the presets whose turns stand under a key of the user's. *sides* makes rows in the shape of a preference, one a side.
    """

    required: tuple[str, ...]
    codec: Codec
    fault: Callable[[dict[str, Any]], Fault | None]
    presets: Mapping[str, Preset]
    with_turns: Mapping[str, Callable[[str], Preset]]
    sides: Callable[[dict[str, Any], Counter[str]], Sequence[dict[str, Any]] | Fault] | None = None

    def preset(self, name: str, turns: str | None) -> Preset:
        """The preset *name*, with its turns under the key *turns* where that is given."""
        return self.presets[name] if turns is None or name not in self.with_turns else self.with_turns[name](turns)


@dataclass(frozen=True, slots=True)
class ColumnPreset:
    """What a preset that the user has named says of rows for a destination with a schema.

    *fault(turns)* says of a decoded row, once it is made, what keeps it from being in the shape. *quick(turns)* says of lines of
    rows whether all are, for sure; False says nothing. *made(turns)* makes rows anew: all of them where it *is_always_made*, else
    those that do not fit as they are. *turns* is the key of the turns.
    """

    fault: Callable[[str], Callable[[dict[str, Any]], Fault | None]]
    quick: Callable[[str], Callable[[bytes], bool]] | None = None
    made: Callable[[str], Callable[[dict[str, Any], Counter[str]], dict[str, Any]]] | None = None
    is_always_made: bool = False


@dataclass(frozen=True, slots=True)
class ColumnRows:
    """A destination whose rows follow a schema of columns, given or inferred. Rows stay as they are, unless a preset with a *made*
    was named; what was named is checked."""

    presets: Mapping[str, ColumnPreset] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """A destination as the encoder sees it. *title* is its name in sentences."""

    name: str
    title: str
    rows: FixedRows | ColumnRows
