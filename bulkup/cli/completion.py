"""What a shell offers when a person presses Tab: commands and options by themselves, and here the values."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

__all__ = [
    "COMPLETE",
    "answer_first_tab",
    "completed_words",
    "of_choices",
    "of_destinations",
    "of_runs",
    "wants_completion",
]

COMPLETE = "_BULKUP_COMPLETE"
"""Set by the shell's script when it asks."""

FLAGS = ("--install-completion", "--show-completion")


def wants_completion(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether the command line is about completion, or lists all options."""
    is_help = not arguments or arguments[0] in ("-h", "--help")
    return COMPLETE in environment or is_help or any(argument.startswith(FLAGS) for argument in arguments)


_ZSH_FIRST_TAB = '\n\nif [ "$funcstack[1]" = _bulkup ]; then _bulkup_completion "$@"; fi\n'


def answer_first_tab(arguments: Sequence[str]) -> None:
    """After `--install-completion`: zsh loads the file at the first Tab, and it only defined the function. Now it calls it, too."""
    if not any(argument.startswith(FLAGS[0]) for argument in arguments):
        return
    with suppress(OSError, RuntimeError):
        path = Path.home() / ".zfunc" / "_bulkup"
        text = path.read_text(encoding="utf-8")
        if text.startswith("#compdef bulkup") and "funcstack" not in text:
            path.write_text(text.rstrip() + _ZSH_FIRST_TAB, encoding="utf-8")


def completed_words(environment: Mapping[str, str]) -> list[str]:
    """The words that stand on the line that is being completed."""
    line = environment.get("COMP_WORDS") or environment.get("_TYPER_COMPLETE_ARGS") or ""
    try:
        return shlex.split(line)
    except ValueError:  # a quote is open
        return line.split()


def of_choices(choices: Sequence[str]) -> Callable[[str], list[str]]:
    """Offers those of *choices* that begin as what is there."""

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def of_destinations(incomplete: str) -> list[str]:
    """Offers the services."""
    from bulkup.destinations.registry import service_names

    return of_choices(service_names())(incomplete)


def of_runs(incomplete: str) -> list[str]:
    """Offers the runs of the state directory that the line or the environment names, the newest first."""
    from bulkup.run.folder import StateDir

    words = completed_words(os.environ)
    given = [later for word, later in pairwise(words) if word == "--state-dir"]
    state = StateDir(Path(given[-1] if given else os.environ.get("BULKUP_STATE_DIR") or ".bulkup"))
    return of_choices(state.runs()[::-1])(incomplete)
