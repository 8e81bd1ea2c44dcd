"""What an error becomes: one line on stderr, and an exit code."""

from __future__ import annotations

import errno
import os
import re
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress

from bulkup.cli.figures import printable
from bulkup.cli.streams import OUT, forget
from bulkup.errors import BulkupError, ExitCode, UsageProblem, worst
from bulkup.settings.near import did_you_mean
from bulkup.tokens.secret import redact

__all__ = ["exit_code_of", "leave_if_stuck", "refuse_tokens"]

READER_LEFT = 141
"""What a shell reports of a program whose reader closed the pipe (128 + SIGPIPE)."""

_NO_COMMAND = re.compile(r"No such command '([^']*)'")
_TOO_MANY = re.compile(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)")
_OTHER_WORDS = {"help": "bulkup --help", "version": "bulkup --version"}
"""What other tools have as commands."""
_ASKED_NUMBERS = {"int": "a whole number", "float": "a number"}
_RANGES = {"greater_than_equal": ("ge", "of at least"), "less_than_equal": ("le", "of at most")}
_TOKEN_FLAG = re.compile(r"--?[a-z-]*(token(?!izer)|api-?key|secret|password|bearer|authorization)", re.IGNORECASE)


def refuse_tokens(arguments: list[str]) -> None:
    """Raise `UsageProblem` for an option that would carry a token: other users of the machine could read it."""
    for argument in arguments:
        if argument == "--":
            return
        if _TOKEN_FLAG.match(argument):
            raise UsageProblem(
                f"a token is never an option: set {_variables()}, or name a token_file in the config file"
            )


def _variables() -> str:
    from bulkup.destinations.registry import BUILT_IN, listed

    return listed((service.token_variable for service in BUILT_IN.values()), "or")


def exit_code_of(error: BaseException, *, is_verbose: bool, arguments: Sequence[str] = ()) -> int:
    """Say what *error* is, in one line, and return the process's exit code. *arguments*: the command line that led to it."""
    if isinstance(error, BrokenPipeError) or isinstance(
        error.__context__, BrokenPipeError
    ):  # typer makes it SystemExit
        forget(OUT)
        return READER_LEFT
    line, code = _answer(_leading(error), arguments)
    line += _lost_directory()
    with suppress(OSError, ValueError):
        if is_verbose and not _is_mistake(error, code):
            sys.stderr.write(redact("".join(traceback.format_exception(error))))
        sys.stderr.write(f"bulkup: {printable(line)}\n")
        sys.stderr.flush()
    return code


def _is_mistake(error: BaseException, code: int) -> bool:
    """Whether it lies in what the user gave: then where in the code it was found says nothing."""
    return code == ExitCode.USAGE and not isinstance(error, BaseExceptionGroup)


def _lost_directory() -> str:
    """What else explains that a file cannot be found or made."""
    try:
        os.getcwd()  # noqa: PTH109 - asked whether it is there
    except FileNotFoundError:
        return " (the current directory has been removed: go to one that exists)"
    except OSError:
        pass
    return ""


def leave_if_stuck(code: int) -> None:
    """End the process now if a thread would keep it: one may be waiting for standard input that never comes. Its streams are
    finished before."""
    others = [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    if others:
        os._exit(code)


def _answer(error: BaseException, arguments: Sequence[str]) -> tuple[str, int]:
    match error:
        case BulkupError():
            return str(error), int(error.exit_code)
        case KeyboardInterrupt():
            return "interrupted", int(ExitCode.INTERRUPTED)
        case SystemExit():
            return "stopped", error.code if isinstance(error.code, int) else int(ExitCode.INTERNAL)
        case OSError() if error.errno in (errno.EMFILE, errno.ENFILE):
            return (
                f"{error.strerror}; raise the limit on open files (ulimit -n), then run the same command",
                int(ExitCode.LOCAL_DISK),
            )
        case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            forget(OUT)
            return f"cannot write: {error.strerror}", int(ExitCode.LOCAL_DISK)
        case _:
            said = getattr(error, "format_message", None)  # typer's own, whether it comes with click or has it inside
            if said is None:
                return (
                    f"internal error: {type(error).__name__}: {redact(str(error))}. "
                    "Please report it; -v shows where it happened",
                    int(ExitCode.INTERNAL),
                )
            return _of_command_line(error, str(said()), arguments), int(getattr(error, "exit_code", ExitCode.USAGE))


def _of_command_line(error: BaseException, said: str, arguments: Sequence[str]) -> str:
    """What typer finds wrong with the command line, in our words."""
    context = getattr(error, "ctx", None)
    command = "bulkup" if context is None else context.command_path
    if command == "bulkup" and arguments and not arguments[0].startswith("-"):  # it does not say where it was
        command = f"bulkup {arguments[0]}"
    option, possible = getattr(error, "option_name", None), getattr(error, "possibilities", None) or ()
    if type(error).__name__ == "NoSuchOption":
        hint = _file_of_that_name(arguments) or did_you_mean(str(option), possible)
        return f"{command} has no option {option}{hint}; {command} --help lists them"
    if (word := _NO_COMMAND.match(said)) is not None and context is not None:
        commands = context.command.list_commands(context)
        other = _OTHER_WORDS.get(word[1])
        hint = f" (did you mean {other}?)" if other else did_you_mean(word[1], commands)
        return f"bulkup has no command {word[1]!r}{hint}; there are {', '.join(commands)}"
    if (words := _TOO_MANY.match(said)) is not None:
        return f"{command} does not know what to do with {words[1]!r}; {command} --help shows what it takes"
    if (value := _of_value(error)) is not None:
        return value
    if type(error).__name__ == "MissingParameter" and getattr(error.param, "name", "") == "run":  # type: ignore[attr-defined]
        return f"{command} needs RUN, a run's name or a beginning of it; bulkup runs lists them"
    text = said.rstrip(".")
    return f"{text[:1].lower()}{text[1:]} ({command} --help shows what there is)"


def _of_value(error: BaseException) -> str | None:
    """What is wrong with the value of an option that typer reads; None where it is something else."""
    details = getattr(error.__cause__, "errors", None)
    option = next(iter(getattr(getattr(error, "param", None), "opts", ())), None)
    if details is None or option is None:
        return None
    (detail, *_) = details(include_url=False)
    kind, given = str(detail["type"]), detail["input"]
    if (asked := _ASKED_NUMBERS.get(kind.partition("_")[0])) is not None:
        return f"{option} {given!r}: give {asked}"
    if kind not in _RANGES:
        return None
    key, words = _RANGES[kind]
    return f"{option} {given}: give a number {words} {detail['ctx'][key]:,}"


def _file_of_that_name(arguments: Sequence[str]) -> str:
    """Where an argument is taken for options, and a file is called so."""
    found = next((a for a in arguments if a.startswith("-") and "." in a and os.path.exists(a)), None)  # noqa: PTH110
    return "" if found is None else f" (for the file of that name write ./{found})"


def _leading(error: BaseException) -> BaseException:
    """The error in a group that stands for all of it: a bug before anything else, then by the exit codes' precedence."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [_leading(inner) for inner in error.exceptions]
    unknown = [leaf for leaf in leaves if not isinstance(leaf, BulkupError)]
    if unknown:
        return unknown[0]
    known = [leaf for leaf in leaves if isinstance(leaf, BulkupError)]
    code = worst([leaf.exit_code for leaf in known])
    return next(leaf for leaf in known if leaf.exit_code == code)
