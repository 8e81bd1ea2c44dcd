"""What is read: files and standard input, plain or compressed, as blocks of JSON lines by ranges of positions."""

from bulkup.sources.decompress import Compression
from bulkup.sources.format import Access, Cutter, Format, Reader, SourceFile, Unit
from bulkup.sources.inspection import inspect
from bulkup.sources.locators import STDIN, resolve
from bulkup.sources.opening import open_files, open_source
from bulkup.sources.source import Cursor, Item, Source

__all__ = [
    "STDIN",
    "Access",
    "Compression",
    "Cursor",
    "Cutter",
    "Format",
    "Item",
    "Reader",
    "Source",
    "SourceFile",
    "Unit",
    "inspect",
    "open_files",
    "open_source",
    "resolve",
]
