"""How rows are made for one destination: what the user asked for, and what the first block decided."""

from __future__ import annotations

from collections.abc import Mapping as Table
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bulkup.encoding.columns import column_codecs
from bulkup.encoding.drop import DropNested
from bulkup.encoding.faults import one_line
from bulkup.encoding.identity import TrustingCodec
from bulkup.encoding.mapped import MappedRows
from bulkup.encoding.stitched import stitched
from bulkup.encoding.target import Codec, FixedRows, Pipeline, Rewriter, Target
from bulkup.errors import JournalUnusable
from bulkup.mapping import Mapping, parse_mapping
from bulkup.model import Validation
from bulkup.schema import Column, GivenType, Nested, columns_from_json, columns_to_json, words

if TYPE_CHECKING:
    from bulkup.encoding.rows import BlockEncoder

__all__ = ["DEFAULT_MAX_ROW_BYTES", "RowOptions", "RowPlan"]

DEFAULT_MAX_ROW_BYTES = 16 * 1024 * 1024
_COLUMNS_SAID = 20
_SAID_CHARS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOptions:
    """What the user says of the rows for one destination.

    *schema* is the whole schema, so nothing is inferred; *columns* are single columns that override what is inferred
    (or the schema). Types are as `bulkup.schema.given_columns` has them.
    """

    preset: str = "auto"
    mapping: Mapping | None = None
    drop: tuple[str, ...] = ()
    schema: Table[str, GivenType] | None = None
    columns: Table[str, GivenType] = field(default_factory=dict)
    nested: Nested = Nested.TEXT
    max_row_bytes: int = DEFAULT_MAX_ROW_BYTES
    validation: Validation = Validation.FULL


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPlan:
    """Everything that decides what becomes of a row. Equal plans make equal bytes of equal rows.

    *preset* is `identity`, a preset's name, or `mapping`. *drop* are keys of the row, *drop_nested* places within it.
    *columns* is the schema where the destination has one. *rewrite*: no row is sent as its own bytes. *variant* is
    which of the preset's or the mapping's alternatives is tried first. *validation*: what is checked before a row is sent.
    """

    target: Target
    preset: str
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
    def from_json(cls, data: Table[str, Any], target: Target) -> RowPlan:
        """What `to_json` wrote, for the same *target*. Raises `JournalUnusable` where it is for another."""
        if data["target"] != target.name:
            raise JournalUnusable(f"the journal's row plan is for {data['target']}, not {target.name}")
        return cls(
            target=target,
            preset=data["preset"],
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
        if self.mapping is not None:
            said.append(f"mapping → {', '.join(self.mapping.fields)}")
        if self.columns is not None:
            more = len(self.columns) - _COLUMNS_SAID
            columns = ", ".join(map(words, self.columns[:_COLUMNS_SAID])) + (f" and {more} more" if more > 0 else "")
            said.append(f"columns: {columns or 'none'}")
        elif isinstance(self.target.rows, FixedRows) and self.mapping is None:
            arrow = ":" if self.preset == "identity" else " →"
            said.append(f"{self.preset}{arrow} {self.target.rows.presets[self.preset].gives}")
        if self.drop or self.drop_nested:
            said.append(f"without {', '.join((*self.drop, *self.drop_nested))}")
        if self.validation is Validation.TRUST:
            said.append("not validated (trust)")
        return one_line("; ".join(said), _SAID_CHARS)

    def encoder(self) -> BlockEncoder:
        """What carries the plan out."""
        from bulkup.encoding.rows import BlockEncoder  # the encoder is made of a plan: the one import that points back

        return BlockEncoder(self)

    def first_rewriters(self) -> tuple[Rewriter, ...]:
        """What runs before any preset: nested drops, then the mapping."""
        drops = (DropNested(self.drop_nested),) if self.drop_nested else ()
        mapped = (MappedRows(self.mapping, self.drop),) if self.mapping is not None else ()
        return (*drops, *mapped)

    def pipelines(self) -> tuple[Pipeline, ...]:
        """The ways to encode rows, the one tried first first. Which of them takes a row depends on that row alone."""
        first = self.first_rewriters()
        dropped = self.drop if self.mapping is None else ()
        trusts = self.validation is Validation.TRUST
        if isinstance(self.target.rows, FixedRows):
            codecs: tuple[Codec, ...] = (self.target.rows.codec,)
        else:
            codecs = column_codecs(self.columns or (), dropped, rewrite=self.rewrite)
        if self.mapping is not None:
            return self._turned(self._mapped(self.mapping, first, codecs))
        if not isinstance(self.target.rows, FixedRows):
            if trusts and codecs[0].is_verbatim:
                codecs = (TrustingCodec(),)
            return tuple(Pipeline(first, codec) for codec in codecs)
        found = self.target.rows.presets[self.preset].pipelines(dropped)
        return self._turned(
            tuple(
                Pipeline((*first, *way.rewriters), TrustingCodec() if trusts and way.codec is codecs[0] else way.codec)
                for way in found
            )
        )

    def _mapped(self, mapping: Mapping, first: tuple[Rewriter, ...], codecs: tuple[Codec, ...]) -> tuple[Pipeline, ...]:
        sure = stitched(mapping, self.drop, codecs[0])
        if self.validation is Validation.TRUST and codecs[0].is_verbatim:
            codecs = (TrustingCodec(),)
        general = tuple(Pipeline(first, codec) for codec in codecs)
        return general if sure is None else (*general, Pipeline(first[:-1], sure))

    def _turned(self, found: tuple[Pipeline, ...]) -> tuple[Pipeline, ...]:
        return (*found[self.variant :], *found[: self.variant])
