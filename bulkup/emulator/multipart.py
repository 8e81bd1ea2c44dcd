"""multipart/form-data, from a body that is in memory: cut at its delimiters, in linear time, without copying files."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser

__all__ = ["MalformedFormError", "Part", "parts"]


class MalformedFormError(Exception):
    """The body is not the form that its header announces."""


@dataclass(frozen=True, slots=True)
class Part:
    """One field. *file_name* is None for a plain one."""

    name: str
    file_name: str | None
    content_type: str
    data: memoryview


def parts(body: bytearray, content_type: str) -> list[Part]:
    """The fields in their order. Raises `MalformedFormError` where the form is not whole."""
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/form-data" or not boundary:
        raise MalformedFormError("not multipart/form-data with a boundary")
    delimiter = b"\r\n--" + boundary.encode("utf-8")
    if not body.startswith(delimiter[2:]):
        raise MalformedFormError("the first delimiter is missing")
    found: list[Part] = []
    at = len(delimiter) - 2
    view = memoryview(body)
    while not body.startswith(b"--", at):
        start = body.find(b"\r\n", at) + 2
        head_end = body.find(b"\r\n\r\n", start - 2)
        end = body.find(delimiter, max(head_end, 0))
        if start == 1 or head_end < 0 or end < 0 or bytes(body[at : start - 2]).strip(b" \t"):
            raise MalformedFormError("a delimiter or a part's headers are missing")
        found.append(_part(bytes(body[start:head_end]), view[min(head_end + 4, end) : end]))
        at = end + len(delimiter)
    return found


def _part(head: bytes, data: memoryview) -> Part:
    headers = BytesHeaderParser().parsebytes(head)
    name = headers.get_param("name", header="content-disposition")
    if headers.get_content_disposition() != "form-data" or not isinstance(name, str):
        raise MalformedFormError("a part has no name")
    return Part(name, headers.get_filename(), headers.get_content_type(), data)
