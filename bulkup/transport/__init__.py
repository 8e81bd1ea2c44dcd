"""HTTP, and the only package that knows the HTTP client.

Every failure of the client library becomes a `TransportFailure` that says how far the request had come; its text is redacted.
Nothing here decides what a failure means.
"""

from bulkup.transport.answer import ERROR_BYTES, Answer
from bulkup.transport.base_url import check_base_url, leads_to_loopback
from bulkup.transport.failure import AnswerTooLong, AnswerUnreadable, LastingFailure, Phase, TransportFailure, Withheld
from bulkup.transport.progress import Body, Timeouts
from bulkup.transport.session import Transport
from bulkup.transport.translate import WORDS

__all__ = [
    "ERROR_BYTES",
    "WORDS",
    "Answer",
    "AnswerTooLong",
    "AnswerUnreadable",
    "Body",
    "LastingFailure",
    "Phase",
    "Timeouts",
    "Transport",
    "TransportFailure",
    "Withheld",
    "check_base_url",
    "leads_to_loopback",
]
