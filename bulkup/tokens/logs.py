"""What libraries and bugs log, without secrets: a repr or a traceback may hold one."""

from __future__ import annotations

import logging

from bulkup.tokens.secret import redact

__all__ = ["log_to_stderr"]


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def log_to_stderr(level: int, pattern: str) -> None:
    """Log what is at least *level* to stderr from now on; *pattern* as `logging.Formatter` has it."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter(pattern))
    logging.basicConfig(level=level, handlers=[handler])
