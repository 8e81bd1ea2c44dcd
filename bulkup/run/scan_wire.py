"""A scan's orders and answers as they go between machines (`bulkup.run.wire`)."""

from __future__ import annotations

import json
from typing import Any

from bulkup.destinations.service import DatasetAt
from bulkup.encoding import RowOptions
from bulkup.encoding.choosing import Choice
from bulkup.model import Validation
from bulkup.rows.function import Function
from bulkup.rows.mapping import parse_mapping
from bulkup.rows.schema import Nested
from bulkup.run.forms import BlockForm, FileForm, Form, OneOf
from bulkup.run.scan_worker import LookAtPart, ScannedLane
from bulkup.scan.learned import FileCounts, FileRead, KeyCounts, Learned, ShapeCounts
from bulkup.scan.reasons import Reason
from bulkup.scan.seen import Place, Seen
from bulkup.scan.spread import Part
from bulkup.settings.repair import Repair

__all__ = ["LearnedForm", "LookAtPartForm"]


class _Options(Form, frozen=True):
    """A mapping by its source."""

    STANDS_FOR = RowOptions
    preset: str
    turns: str | None
    repairs: tuple[Repair, ...]
    function: Function | None
    both_sides: bool
    mapping: str | None
    drop: tuple[str, ...]
    schema: dict[str, Any] | None
    columns: dict[str, Any]
    nested: Nested
    max_row_bytes: int
    validation: Validation

    @classmethod
    def of(cls, value: RowOptions) -> _Options:
        given = {name: getattr(value, name) for name in cls.__struct_fields__}
        return cls(**{**given, "mapping": None if value.mapping is None else value.mapping.source})

    def back(self) -> RowOptions:
        given = {name: getattr(self, name) for name in self.__struct_fields__}
        mapping = None if self.mapping is None else parse_mapping(json.loads(self.mapping))
        return RowOptions(**{**given, "mapping": mapping})


class _Lane(Form, frozen=True):
    STANDS_FOR = ScannedLane
    dataset: DatasetAt
    options: _Options
    first: BlockForm | None

    @classmethod
    def of(cls, value: ScannedLane) -> _Lane:
        first = None if value.first is None else BlockForm.of(value.first)
        return cls(value.dataset, _Options.of(value.options), first)

    def back(self) -> ScannedLane:
        return ScannedLane(self.dataset, self.options.back(), None if self.first is None else self.first.back())


class _Stage(OneOf, frozen=True):
    choice: Choice | None = None
    word: str | None = None


class LookAtPartForm(Form, frozen=True):
    """The order to look at a part."""

    STANDS_FOR = LookAtPart
    lanes: dict[str, _Lane]
    stages: dict[str, _Stage | None]
    files: tuple[FileForm, ...]
    part: Part
    max_row_bytes: int
    goes_on: bool

    @classmethod
    def of(cls, value: LookAtPart) -> LookAtPartForm:
        """What stands for *value*."""
        return cls(
            {name: _Lane.of(lane) for name, lane in value.lanes.items()},
            {name: None if stage is None else _Stage.of(stage) for name, stage in value.stages.items()},
            tuple(map(FileForm.of, value.files)),
            value.part,
            value.max_row_bytes,
            value.goes_on,
        )

    def back(self) -> LookAtPart:
        """The order. Raises `UsageProblem` where this machine does not know a file's format."""
        return LookAtPart(
            {name: lane.back() for name, lane in self.lanes.items()},
            {name: None if stage is None else stage.value for name, stage in self.stages.items()},
            tuple(file.back() for file in self.files),
            self.part,
            self.max_row_bytes,
            self.goes_on,
        )


class _OfLane(Form, frozen=True):
    STANDS_FOR = Learned
    files: tuple[FileCounts, ...]
    read: tuple[FileRead, ...]
    reasons: tuple[Reason, ...]
    keys: dict[str, Seen]
    first_row: Place | None
    counted: KeyCounts
    shapes: ShapeCounts
    readable: int
    misfits: int
    skipped: int
    made: int
    sample: tuple[BlockForm, ...]
    broke_off: str | None
    disk_bytes: int
    met: frozenset[str]

    @classmethod
    def of(cls, value: Learned) -> _OfLane:
        given = {name: getattr(value, name) for name in cls.__struct_fields__}
        return cls(**{**given, "sample": tuple(map(BlockForm.of, value.sample))})

    def back(self) -> Learned:
        given = {name: getattr(self, name) for name in self.__struct_fields__}
        return Learned(**{**given, "sample": tuple(block.back() for block in self.sample)})


class LearnedForm(Form, frozen=True):
    """What a part has taught, by lane."""

    STANDS_FOR = dict
    lanes: dict[str, _OfLane]

    @classmethod
    def of(cls, value: dict[str, Learned]) -> LearnedForm:
        """What stands for *value*."""
        return cls({name: _OfLane.of(learned) for name, learned in value.items()})

    def back(self) -> dict[str, Learned]:
        """The value."""
        return {name: lane.back() for name, lane in self.lanes.items()}
