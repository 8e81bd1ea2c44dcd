"""What is read: files and standard input, plain or compressed, as blocks of JSON lines by ranges of positions."""

from bulkup.sources.agreement import agree, needs_agreement
from bulkup.sources.beginning import EndOfBeginning
from bulkup.sources.decompress import Compression
from bulkup.sources.format import Access, Cutter, Format, Reader, SourceFile, Unit
from bulkup.sources.inspection import inspect
from bulkup.sources.json_path import path_of
from bulkup.sources.kept_rows import KeptRows
from bulkup.sources.kept_source import KeptSource, is_worth_keeping
from bulkup.sources.locators import STDIN, listed_in, resolve
from bulkup.sources.looked import LookedInto, looked_into
from bulkup.sources.opening import open_files, open_source
from bulkup.sources.places import Access as PlaceAccess
from bulkup.sources.places import hide, is_many, is_remote
from bulkup.sources.reading import Reading
from bulkup.sources.renaming import parse_renames
from bulkup.sources.selection import Selection
from bulkup.sources.separated.kinds import Kind, kind_of_type
from bulkup.sources.source import Cursor, Item, Source
from bulkup.sources.stdin import Held
from bulkup.sources.transcode import encoding_named

__all__ = [
    "STDIN",
    "Access",
    "Compression",
    "Cursor",
    "Cutter",
    "EndOfBeginning",
    "Format",
    "Held",
    "Item",
    "KeptRows",
    "KeptSource",
    "Kind",
    "LookedInto",
    "PlaceAccess",
    "Reader",
    "Reading",
    "Selection",
    "Source",
    "SourceFile",
    "Unit",
    "agree",
    "encoding_named",
    "hide",
    "inspect",
    "is_many",
    "is_remote",
    "is_worth_keeping",
    "kind_of_type",
    "listed_in",
    "looked_into",
    "needs_agreement",
    "open_files",
    "open_source",
    "parse_renames",
    "path_of",
    "resolve",
]
