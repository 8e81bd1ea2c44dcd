"""Commands whose journal is in PostgreSQL: a process that is stopped while another machine goes on, and a password that nobody
sees."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.cli.shell import Shell, eventually
from tests.cli.test_secrets import FORMS
from tests.e2e.harness import canonical
from tests.journal.postgres_server import postgres_server

PASSWORD = "pa55/w+rd-0a81c2f7"


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_a_stopped_process_that_was_taken_over_sends_nothing_and_ends_with_8(
    shell: Shell, rows: list[dict[str, Any]], workers: str
) -> None:
    """Its workers neither. The other machine has the source and the database, and a state directory of its own."""
    journal = postgres_server().new_database()
    command = ["upload", "rows.jsonl", "--to", "nebius", *shell.urls, "--max-chunk-rows", "20", "--journal", journal]
    command += ["--lease", "3", "--settle-after", "1"]
    first = shell.start(*command, "--requests-per-minute", "120", "--workers", workers)
    eventually(lambda: shell.emulator.rows("nebius"))
    first.interrupt(signal.SIGSTOP)
    second = shell.run(*command, "--state-dir", "other")
    assert second.code == 0, second.err
    stored = canonical(shell.emulator.rows("nebius"))
    first.interrupt(signal.SIGCONT)
    done = first.wait()
    assert done.code == 8, (done.out, done.err)
    assert "another process has taken this run over" in done.out + done.err
    shell.emulator.idle()
    assert canonical(shell.emulator.rows("nebius")) == stored, "what it had in its hands came to its end"
    assert stored == canonical(rows), second.err


def test_the_journal_s_password_is_shown_nowhere(shell: Shell, rows: list[Any], tmp_path_factory: Any) -> None:
    """Neither what stands in the URL nor what stands in the environment, whatever goes wrong."""
    database = postgres_server().new_database()
    url = database.replace("bulkup@", f"bulkup:{quote(PASSWORD, safe='')}@")
    assert url != database
    to = ["--to", "nebius", *shell.urls, "-v"]
    nowhere = f"postgresql://me:{quote(PASSWORD, safe='')}@127.0.0.1:1/x"
    config = Path(tmp_path_factory.mktemp("config")) / "c.toml"
    config.write_text(f'journal = "{nowhere}"\n')
    wrong = config.with_name("wrong.toml")
    wrong.write_text(f'journal = "mysql://me:{PASSWORD}@host/x"\n')
    done = [
        shell.run("upload", "rows.jsonl", *to, "--journal", url),
        shell.run("upload", "rows.jsonl", *to, "--journal", url, "--json"),
        shell.run("upload", "rows.jsonl", *to, environment={"BULKUP_JOURNAL": database, "PGPASSWORD": PASSWORD}),
        shell.run("runs", "--journal", url),
        *(shell.run(name, "rows", "--journal", url) for name in ("status", "rejects")),
        shell.run("resume", "rows", "--journal", url, "-v"),
        shell.run("verify", "rows", "--journal", url, "-v"),
        shell.run("status", "rows"),
        shell.run("upload", "rows.jsonl", *to, "--name", "b", "--journal", url.replace("db-", "no-")),
        shell.run("upload", "rows.jsonl", *to, "--name", "b", "--journal", url.replace("postgresql", "mysql")),
        shell.run("upload", "rows.jsonl", *to, "--name", "b", "--config", str(config), "--retry-for", "1"),
        shell.run("upload", "rows.jsonl", *to, "--name", "b", "--config", str(wrong)),
        shell.run("upload", "rows.jsonl", *to, "--name", "b", environment={"BULKUP_JOURNAL": f"x{url}"}),
    ]
    codes = [one.code for one in done]
    assert codes == [0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 75, 2, 2], [(one.code, one.err) for one in done]
    shown = re.compile("|".join(re.escape(form(PASSWORD)) for form in FORMS.values()).encode(), re.IGNORECASE)
    for one in done:
        assert not shown.search(one.out.encode()), one.out
        assert not shown.search(one.err.encode()), one.err
    for path in Path(shell.folder).rglob("*"):
        assert not path.is_file() or not shown.search(path.read_bytes()), path
