"""How rows are made for one destination: what the user asked for, and what the first block decided."""

from __future__ import annotations

from collections.abc import Mapping as Table
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from bulkup.encoding.by_row import RewrittenRows
from bulkup.encoding.checked import CheckedCodec
from bulkup.encoding.columns import column_codecs, column_fault
from bulkup.encoding.drop import DropNested
from bulkup.encoding.faults import Fault, one_line
from bulkup.encoding.identity import TrustingCodec
from bulkup.encoding.mapped import MappedRows
from bulkup.encoding.shapes import PRESETS
from bulkup.encoding.stitched import stitched
from bulkup.encoding.target import Codec, ColumnPreset, FixedRows, LineEncoder, Pipeline, Preset, Rewriter, Target
from bulkup.errors import JournalUnusable, SourceChanged
from bulkup.light_dataclass import dataclass
from bulkup.model import Validation
from bulkup.rows.function import Function
from bulkup.rows.mapping import Mapping, parse_mapping
from bulkup.rows.schema import Column, GivenType, Nested, columns_from_json, columns_to_json, words
from bulkup.settings.repair import Repair

if TYPE_CHECKING:
    from bulkup.encoding.exploding import Exploder
    from bulkup.encoding.rows import BlockEncoder

__all__ = ["DEFAULT_MAX_ROW_BYTES", "RowOptions", "RowPlan"]

DEFAULT_MAX_ROW_BYTES = 16 * 1024 * 1024
EDITION = 2
_COLUMNS_SAID = 20
_SAID_CHARS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOptions:
    """What the user says of the rows for one destination.

    *schema* is the whole schema, so nothing is inferred; *columns* are single columns that override what is inferred
    (or the schema). Types are as `bulkup.rows.schema.given_columns` has them.
    """

    preset: str = "auto"
    turns: str | None = None
    repairs: tuple[Repair, ...] = ()
    function: Function | None = None
    both_sides: bool = False
    mapping: Mapping | None = None
    drop: tuple[str, ...] = ()
    schema: Table[str, GivenType] | None = None
    columns: Table[str, GivenType] = field(default_factory=dict)
    nested: Nested = Nested.TEXT
    max_row_bytes: int = DEFAULT_MAX_ROW_BYTES
    validation: Validation = Validation.FULL

    @property
    def makes_several(self) -> bool:
        """Whether others are made of the source's rows before anything else is done to them."""
        return self.function is not None or self.both_sides

    def of_made_rows(self) -> RowOptions:
        """What is said of the rows that are made."""
        if not self.both_sides:
            return replace(self, function=None)
        return replace(self, function=None, both_sides=False, preset="identity", turns=None, drop=())

    def with_makers(self, plan: RowPlan) -> RowPlan:
        """*plan*, of the rows that are made, as one of the source's rows."""
        return replace(plan, function=self.function, sides=self.drop if self.both_sides else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPlan:
    """Everything that decides what becomes of a row. Equal plans make equal bytes of equal rows.

    *preset* is `identity`, a preset's name, or `mapping`. *drop* are keys of the row, *drop_nested* places within it.
    *columns* is the schema where the destination has one. *rewrite*: no row is sent as its own bytes. *variant* is
    which of the preset's or the mapping's alternatives is tried first. *validation*: what is checked before a row is sent.

    *turns* is the key of the turns, where the user says one; *repairs* are made where a row needs them. *is_checked*: the user has
    named the preset, so rows with a schema must be in its shape. *fit*: how many of how many rows looked at are in the shape of the
    preset that was chosen. *edition*: of the rules. Runs that began with bulkup 0.1 go on by the first: presets take what they took
    then, and of a key that stands twice the last value counts.

    *function* makes rows of the source's before anything else here is done to them; if *sides* is not None, each of these is a
    preference, which becomes a row a side, without the keys in it.
    """

    target: Target
    preset: str
    turns: str | None = None
    repairs: tuple[Repair, ...] = ()
    is_checked: bool = False
    fit: tuple[int, int] | None = None
    edition: int = EDITION
    function: Function | None = None
    sides: tuple[str, ...] | None = None
    mapping: Mapping | None = None
    drop: tuple[str, ...] = ()
    drop_nested: tuple[str, ...] = ()
    columns: tuple[Column, ...] | None = None
    rewrite: bool = False
    variant: int = 0
    max_row_bytes: int = DEFAULT_MAX_ROW_BYTES
    validation: Validation = Validation.FULL

    @property
    def schema(self) -> tuple[Column, ...] | None:
        """The columns, where the destination has a schema."""
        return self.columns

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        return {
            "target": self.target.name,
            "preset": self.preset,
            "turns": self.turns,
            "repairs": list(self.repairs),
            "is_checked": self.is_checked,
            "fit": self.fit,
            "edition": self.edition,
            "function": None if self.function is None else self.function.key,
            "sides": self.sides,
            "mapping": None if self.mapping is None else self.mapping.to_json(),
            "drop": list(self.drop),
            "drop_nested": list(self.drop_nested),
            "columns": None if self.columns is None else columns_to_json(self.columns),
            "rewrite": self.rewrite,
            "variant": self.variant,
            "max_row_bytes": self.max_row_bytes,
            "validation": self.validation,
        }

    @classmethod
    def from_json(cls, data: Table[str, Any], target: Target, function: Function | None = None) -> RowPlan:
        """What `to_json` wrote, for the same *target* and *function*: what runs is what the caller names, never what is written
        there. Raises `JournalUnusable` where it is for another target, `SourceChanged` where for another function."""
        if data["target"] != target.name:
            raise JournalUnusable(
                f"the journal's row plan is for {data['target']}, not {target.name}; restore the run's folder from a copy"
            )
        if data.get("function") != (None if function is None else function.key):
            raise SourceChanged(
                "the run's rows were made by another --map than this one: give the one that it began with"
            )
        return cls(
            target=target,
            preset=data["preset"],
            turns=data.get("turns"),
            repairs=tuple(map(Repair, data.get("repairs", ()))),
            is_checked=data.get("is_checked", False),
            fit=None if data.get("fit") is None else (data["fit"][0], data["fit"][1]),
            edition=data.get("edition", 1),
            function=function,
            sides=None if data.get("sides") is None else tuple(data["sides"]),  # earlier journals have none of these
            mapping=None if data["mapping"] is None else parse_mapping(data["mapping"]),
            drop=tuple(data["drop"]),
            drop_nested=tuple(data["drop_nested"]),
            columns=None if data["columns"] is None else columns_from_json(data["columns"]),
            rewrite=data["rewrite"],
            variant=data["variant"],
            max_row_bytes=data["max_row_bytes"],
            validation=Validation(data.get("validation", Validation.FULL)),  # earlier journals had but the one
        )

    def describe(self) -> str:
        """One line for the user: how rows are made."""
        said = []
        if self.function is not None:
            said.append(f"rows by {self.function.title}")
        if self.sides is not None:
            said.append("two rows of each preference, one a side")
        if self.mapping is not None:
            said.append(f"mapping → {', '.join(self.mapping.fields)}")
        if self.columns is not None:
            more = len(self.columns) - _COLUMNS_SAID
            columns = ", ".join(map(words, self.columns[:_COLUMNS_SAID])) + (f" and {more} more" if more > 0 else "")
            said.append(f"columns: {columns or 'none'}")
        elif isinstance(self.target.rows, FixedRows) and self.mapping is None:
            arrow = ":" if self.preset == "identity" else " →"
            said.append(f"{self.preset}{arrow} {self.target.rows.presets[self.preset].gives}")
        if self.fit is not None:
            said.append(f"{self.fit[0]:,} of {self.fit[1]:,} rows looked at fit {self.preset}")
        if self.drop or self.drop_nested:
            said.append(f"without {', '.join((*self.drop, *self.drop_nested))}")
        if self.validation is Validation.TRUST:
            said.append("not validated (trust)")
        if self.repairs:
            said.append(f"repairs {', '.join(self.repairs)}")
        return one_line("; ".join(said), _SAID_CHARS)

    def encoder(self) -> BlockEncoder:
        """What carries the plan out."""
        from bulkup.encoding.rows import BlockEncoder  # the encoder is made of a plan: the one import that points back

        return BlockEncoder(self)

    def line_encoder(self) -> LineEncoder:
        """The same for lines of which a function may make any number of rows. Where there is one it is loaded: raises
        `UsageProblem`, `SourceChanged`."""
        if self.function is None and self.sides is None:
            return self.encoder()
        from bulkup.encoding.exploding import ExplodingEncoder

        return ExplodingEncoder(self.of_made_rows(), self.exploder(), runs_user_code=self.function is not None)

    def exploder(self) -> Exploder:
        """What makes the rows, where others are made of the source's. Raises `UsageProblem`, `SourceChanged`."""
        from bulkup.encoding.exploding import Exploder
        from bulkup.encoding.makers import BothSides, maker_of

        sides = None
        if self.sides is not None:
            assert isinstance(self.target.rows, FixedRows), "sides were asked for"
            assert self.target.rows.sides is not None, "sides were asked for"
            sides = BothSides(self.target.rows.sides, self.sides)
        maker = maker_of(self.function, sides, self.max_row_bytes)
        assert maker is not None, "something makes rows"
        return Exploder(
            maker,
            repairs=self.repairs,
            max_row_bytes=self.max_row_bytes,
            finds_doubled_keys=self.finds_doubled_keys,
        )

    def of_made_rows(self) -> RowPlan:
        """How the rows are encoded that were made of the source's."""
        return replace(self, function=None, sides=None)

    @property
    def finds_doubled_keys(self) -> bool:
        """Whether a row in which a key stands twice is refused, or repaired."""
        return self.edition > 1 and self.validation is Validation.FULL

    @property
    def fixed_preset(self) -> Preset:
        """The preset, where the destination's rows have one shape and no mapping makes them."""
        assert isinstance(self.target.rows, FixedRows), "the destination has no schema"
        return self.target.rows.preset(self.preset, self.turns)

    @property
    def column_preset(self) -> ColumnPreset | None:
        """The preset in whose shape rows with a schema must be; None where any will do."""
        if not self.is_checked or self.mapping is not None or isinstance(self.target.rows, FixedRows):
            return None
        return self.target.rows.presets.get(self.preset)

    @property
    def turns_key(self) -> str:
        """Where a preset of turns has them."""
        return self.turns or PRESETS[self.preset].choices[0][0]

    def first_rewriters(self) -> tuple[Rewriter, ...]:
        """What runs before any preset: nested drops, then the mapping."""
        drops = (DropNested(self.drop_nested),) if self.drop_nested else ()
        mapped = (MappedRows(self.mapping, self.drop),) if self.mapping is not None else ()
        return (*drops, *mapped)

    def rewritten(self) -> RewrittenRows | None:
        """What makes rows with a schema anew, in the shape of the preset; None where nothing does."""
        preset = self.column_preset
        made = None if preset is None else preset.made
        return None if made is None else RewrittenRows(made(self.turns_key), self.drop)

    def pipelines(self) -> tuple[Pipeline, ...]:
        """The ways to encode rows, the one tried first first. Which of them takes a row depends on that row alone."""
        first = self.first_rewriters()
        codecs = self.codecs()
        if self.mapping is not None:
            return self._turned(self._mapped(self.mapping, first, codecs))
        if not isinstance(self.target.rows, FixedRows):
            return self._turned(self._in_columns(first, codecs))
        preset = self.fixed_preset
        found = preset.pipelines(self.drop)[: preset.in_0_1 if self.edition == 1 else None]
        trusts = self.validation is Validation.TRUST
        return self._turned(
            tuple(
                Pipeline(
                    (*first, *way.rewriters),
                    TrustingCodec() if trusts and way.codec is codecs[0] else way.codec,
                    way.changes,
                )
                for way in found
            )
        )

    def codecs(self) -> tuple[Codec, ...]:
        """What takes rows once they are made, the usual one first."""
        if isinstance(self.target.rows, FixedRows):
            return (self.target.rows.codec,)
        return column_codecs(self.columns or (), self.drop if self.mapping is None else (), rewrite=self.rewrite)

    def column_fault(self, row: dict[str, Any]) -> Fault | None:
        """What keeps the decoded *row*, as it is made, out of the columns."""
        return column_fault(self.columns or (), row)

    def _in_columns(self, first: tuple[Rewriter, ...], codecs: tuple[Codec, ...]) -> tuple[Pipeline, ...]:
        preset = self.column_preset
        counters = [getattr(codec, "changes", None) for codec in codecs]
        if self.validation is Validation.TRUST:
            codecs, counters = ((TrustingCodec(),), [None]) if codecs[0].is_verbatim else (codecs, counters)
        elif preset is not None:
            quick = None if preset.quick is None else preset.quick(self.turns_key)
            codecs = tuple(CheckedCodec(codec, quick, preset.fault(self.turns_key)) for codec in codecs)
        plain = tuple(Pipeline(first, codec, counter) for codec, counter in zip(codecs, counters, strict=True))
        rewritten = self.rewritten()
        if preset is None or rewritten is None:
            return plain
        made = tuple(Pipeline((*first, rewritten), codec, rewritten.changes) for codec in codecs)
        return made if preset.is_always_made else (*plain, *made)

    def _mapped(self, mapping: Mapping, first: tuple[Rewriter, ...], codecs: tuple[Codec, ...]) -> tuple[Pipeline, ...]:
        sure = stitched(mapping, self.drop, codecs[0])
        if self.validation is Validation.TRUST and codecs[0].is_verbatim:
            codecs = (TrustingCodec(),)
        general = tuple(Pipeline(first, codec) for codec in codecs)
        return general if sure is None else (*general, Pipeline(first[:-1], sure))

    def _turned(self, found: tuple[Pipeline, ...]) -> tuple[Pipeline, ...]:
        return (*found[self.variant :], *found[: self.variant])
