"""Pages of HTML where the service would have sent JSON: a gateway in between answered."""

from __future__ import annotations

import re

from bulkup.tokens.secret import redact

__all__ = ["TITLE_CHARACTERS", "title_of_page"]

TITLE_CHARACTERS = 100

_PAGE = re.compile(
    rb"\s{0,1000}(?:<!--[^>]{0,1000}-->\s{0,1000})?<(?:!doctype\s+html|html|head|title|body)\b", re.IGNORECASE
)
_TITLE = re.compile(rb"<title\b[^>]{0,200}>([^<]*+)", re.IGNORECASE)


def title_of_page(content_type: str, body: bytes) -> str | None:
    """The title of a page of HTML, on one line, bounded, free of secrets; empty where it has none, None where *body* is no page."""
    if "html" not in content_type.lower() and _PAGE.match(body.removeprefix(b"\xef\xbb\xbf")) is None:
        return None
    found = _TITLE.search(body)
    if found is None:
        return ""
    import html  # its table of names takes a millisecond to load

    text = html.unescape(found.group(1).decode("utf-8", "replace"))
    return redact(" ".join("".join(c if c.isprintable() else " " for c in text).split()))[:TITLE_CHARACTERS]
