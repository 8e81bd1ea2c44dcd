"""What is read: files and standard input, plain or compressed, as blocks of JSON lines by ranges of positions."""

from bulkup.sources.files import STDIN, Compression, Format, SourceFile
from bulkup.sources.locators import resolve
from bulkup.sources.opening import open_files, open_source
from bulkup.sources.sniff import inspect
from bulkup.sources.source import Cursor, Item, Source

__all__ = [
    "STDIN",
    "Compression",
    "Cursor",
    "Format",
    "Item",
    "Source",
    "SourceFile",
    "inspect",
    "open_files",
    "open_source",
    "resolve",
]
