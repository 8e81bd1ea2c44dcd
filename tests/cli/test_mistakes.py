"""The commonest mistakes, each with the whole message: what, where, what may be given, what may have been meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkup.cli.app import main
from bulkup.settings.faults import LONGEST_VALUE
from tests.cli.shell import TOKENS

PRESETS = "auto, identity, chat, sharegpt, alpaca, prompt-completion, question-answer, preference or text"
UP = ("upload", "rows.jsonl", "--to", "nebius")
A_SIZE = "a size is a number of bytes, or such as 8MiB or 16MB"
A_TIME = "a time is a number of seconds, or such as 30s, 10m or 2h"
_ABOUT_RUNS = "resume, status, runs, logs, clean, pause, continue, stop, set, settle, verify, rejects, ids"
COMMANDS = f"upload, check, {_ABOUT_RUNS}, bench, worker, emulator, demo"

MISTAKES: list[tuple[tuple[str, ...], str]] = [
    # files
    (("upload", "gone.csv", "--to", "nebius"), "gone.csv: there is no such file"),
    (("upload", "rows.json", "--to", "nebius"), "rows.json: there is no such file (did you mean rows.jsonl?)"),
    (("upload", "*.parquet", "--name", "x", "--to", "nebius"), "*.parquet: no file matches"),
    (("upload", "rows.jsonl", "rows.jsonl", "--to", "nebius"),
     "several files, a folder, a glob or standard input need --name NAME"),
    (("upload", "-", "--to", "nebius"), "several files, a folder, a glob or standard input need --name NAME"),
    (("upload", "-dash.jsonl", "--to", "nebius"),
     "bulkup upload has no option -d (for the file of that name write ./-dash.jsonl); bulkup upload --help lists them"),
    # where to
    (("upload", "rows.jsonl"), "nowhere to upload to: give --to nebius, --to collinear, or several of them"),
    (("upload", "rows.jsonl", "nebius"),
     "nowhere to upload to (did you mean --to nebius?): give --to nebius, --to collinear, or several of them"),
    (("upload", "rows.jsonl", "--to", "nebuis"),
     "there is no destination 'nebuis' (did you mean nebius?); --to takes nebius or collinear"),
    (("upload", "rows.jsonl", "--to", "s3"), "there is no destination 's3'; --to takes nebius or collinear"),
    (("upload", "rows.jsonl", "--to", "collinear"), "collinear needs --space-id, the space's UUID"),
    (("upload", "rows.jsonl", "--to", "collinear", "--space-id", "x"),
     "--space-id 'x': give the space's UUID, such as 3c90c3cc-0d44-4b50-8888-8dd25736052a"),
    ((*UP, "--nebius-url", "http://example.com"),
     "'http://example.com': plain http would show the token to everyone on the way; use https"),
    ((*UP, "--nebius-url", "example.com"), "'example.com' is not a base URL; give one such as https://api.example.com"),
    # values
    ((*UP, "--max-chunk-bytes", "8 apples"), f"--max-chunk-bytes '8 apples': {A_SIZE}"),
    ((*UP, "--max-chunk-bytes", "10"), "--max-chunk-bytes 10: give a size of at least 1,024 bytes"),
    ((*UP, "--max-chunk-rows", "0"), "--max-chunk-rows 0: give a whole number of at least 1"),
    ((*UP, "--concurrency", "0"), "--concurrency 0: give a whole number from 1 to 4,096"),
    ((*UP, "--concurrency", "1000"), "--concurrency 1,000: more than 256 needs workers on other machines (--listen)"),
    ((*UP, "--concurrency", "many"), "--concurrency 'many': give a whole number from 1 to 4,096"),
    ((*UP, "--requests-per-minute", "-3"), "--requests-per-minute -3: give a number above 0"),
    ((*UP, "--requests-per-minute", "60/min"), "--requests-per-minute '60/min': give a number above 0"),
    ((*UP, "--retry-for", "soon"), f"--retry-for 'soon': {A_TIME}"),
    ((*UP, "--settle-after", "-1"), f"--settle-after '-1': {A_TIME}"),
    ((*UP, "--max-rejects", "120%"), "--max-rejects '120%': give a number of rows, or a percentage such as 5%"),
    ((*UP, "--on-doubt", "pray"), "--on-doubt 'pray': give hold or resend"),
    ((*UP, "--on-source-change", "apend"),
     "--on-source-change 'apend': give refuse, append or restart (did you mean append?)"),
    ((*UP, "--preset", "alpacca"), f"--preset 'alpacca': give {PRESETS} (did you mean alpaca?)"),
    ((*UP, "--workers", "many"), "--workers 'many': give a number of processes, or auto"),
    ((*UP, "--workers", "100"), "--workers 100: give a whole number from 1 to 64"),
    ((*UP, "--workers", "9" * 320), f"--workers {'9' * LONGEST_VALUE}...: give a whole number from 1 to 64"),
    ((*UP, "--validation", "strict"), "--validation 'strict': give full or trust"),
    (
        (*UP, "--column", "score=strnig?"),
        "--column: 'score=strnig?': there is no type 'strnig' (did you mean string?)",
    ),
    ((*UP, "--column", "score"), "--column: 'score' is not NAME=TYPE, such as score=integer or note=string?"),
    ((*UP, "--name", ""), "--name '': a dataset's name has 1 to 200 printable characters"),
    ((*UP, "--encoding", "utf-33"),
     "--encoding 'utf-33': there is no such encoding; give a name such as utf-16, windows-1252, shift_jis or gb18030"),
    ((*UP, "--drain-timeout", "1 day"), f"--drain-timeout '1 day': {A_TIME}"),
    ((*UP, "--log-file", "rows.jsonl"),
     "--log-file rows.jsonl: is a file that is uploaded; the log would be written into it. Name another file"),
    ((*UP, "--log-file", "here.d"), "--log-file here.d: is a folder; name a file in it"),
    ((*UP, "--log-file", "/nowhere/x.log"), "--log-file /nowhere/x.log: there is no folder /nowhere"),
    ((*UP, "--stop-after", "10"),
     "--stop-after '10': a limit is a time such as 2h, a size such as 10GB, or rows such as 1Mrows"),
    # options, commands, runs
    ((*UP, "--concurency", "3"),
     "bulkup upload has no option --concurency (did you mean --concurrency?); bulkup upload --help lists them"),
    ((*UP, "--threads", "3"), "bulkup upload has no option --threads; bulkup upload --help lists them"),
    ((*UP, "--token", "SECRET"),
     "a token is never an option: set NEBIUS_API_KEY or COLLINEAR_API_KEY, or name a token_file in the config file"),
    (("resume",), "bulkup resume needs RUN, a run's name or a beginning of it; bulkup runs lists them"),
    (("uplod", "rows.jsonl"), f"bulkup has no command 'uplod' (did you mean upload?); there are {COMMANDS}"),
    (("help",), f"bulkup has no command 'help' (did you mean bulkup --help?); there are {COMMANDS}"),
    (("version",), f"bulkup has no command 'version' (did you mean bulkup --version?); there are {COMMANDS}"),
    (("--verison",), "bulkup has no option --verison (did you mean --version?); bulkup --help lists them"),
    (("upload", "--to"), "option '--to' requires an argument (bulkup upload --help shows what there is)"),
    (("upload", "--json=3", "x"), "option '--json' does not take a value (bulkup upload --help shows what there is)"),
    (("runs", "mine"), "bulkup runs does not know what to do with 'mine'; bulkup runs --help shows what it takes"),
    (("emulator", "--port", "http"), "--port 'http': give a whole number"),
    (("emulator", "--port", "99999"), "--port 99999: give a number of at most 65,535"),
    (("emulator", "--latency-ms", "long"), "--latency-ms 'long': give a number"),
    (("emulator", "--readback", "maybe"), "--readback 'maybe': give on, off, forbidden or lagging"),
    (("status",), ".bulkup: there are no runs here; --state-dir says where else to look"),
    (("resume", "rows-1"), ".bulkup: there are no runs here; --state-dir says where else to look"),
    (("settle", "x", "--chunk", "3"),
     "--chunk 3: say what you know about it: --landed (it is stored) or --absent (it is not)"),
    (("verify", "x", "--sample", "2"), "--sample '2': give a share of the chunks from 0 to 1, such as 0.05, 5% or 1.0"),
    (("rejects", "x", "y"), "a FILE needs --retry; to write the export to a file, give --output FILE"),
    (("bench", "--to", "nebius", "--sizes", "3apples"), f"--sizes '3apples': {A_SIZE}"),
    # config files
    ((*UP, "--config", "gone.toml"), "config file gone.toml: there is no such file"),
    (("upload", "rows.jsonl", "--config", "god.toml"),
     "config file god.toml: there is no such file (did you mean good.toml?)"),
    (("upload", "rows.jsonl", "--config", "bad.toml"),
     "config file bad.toml: line 2: foldr: there is no such setting; "
     "line 5: nebius.concurency: there is no such setting (did you mean concurrency?); "
     f"line 6: nebius.max_chunk_bytes: '8 apples': {A_SIZE}; line 7: nebius.folder 3: give a text; "
     "line 8: nebius.concurrency 0: give a whole number from 1 to 4,096; "
     "line 11: rejects.maxx: there is no such setting (did you mean max?)"),
    (("upload", "rows.jsonl", "--config", "types.toml"),
     'config file types.toml: line 1: to: must be such as "nebius", or ["nebius", "collinear"]; line 2: name: give a text; '
     "line 3: workers true: give a whole number from 1 to 64; "
     "line 4: concurrency: there is no such setting; it belongs under [nebius] or [collinear]; "
     "line 6: nebus: there is no such setting (did you mean nebius?)"),
    (("upload", "rows.jsonl", "--config", "latin.toml"),
     "config file latin.toml: line 2 is not UTF-8; save the file as UTF-8"),
    (("upload", "rows.jsonl", "--config", "torn.toml"), "config file torn.toml: Unclosed array (at end of document)"),
    (("upload", "rows.jsonl", "--config", "place.toml"),
     "config file place.toml: line 2: space_id: there is no such setting; it belongs under [collinear]"),
]  # fmt: skip

FILES = {
    "rows.jsonl": '{"text": "a"}\n',
    "good.toml": "[nebius]\nconcurrency = 3\n",
    "bad.toml": 'to = "nebius"\nfoldr = "x"\n\n[nebius]\nconcurency = 3\nmax_chunk_bytes = "8 apples"\nfolder = 3\n'
    "concurrency = 0\n\n[rejects]\nmaxx = 3\n",
    "types.toml": 'to = 3\nname = ["a"]\nworkers = true\nconcurrency = 3\n\n[nebus]\nfolder = "y"\n',
    "-dash.jsonl": '{"text": "a"}\n',
    "torn.toml": 'to = ["nebius"\n',
    "place.toml": 'to = "nebius"\nspace_id = "x"\n',
}  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "latin.toml").write_bytes(b'to = "nebius"\nname = "caf\xe9"\n')
    (tmp_path / "here.d").mkdir()
    monkeypatch.chdir(tmp_path)
    for name, value in TOKENS.items():
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"), MISTAKES, ids=lambda it: " ".join(it) if isinstance(it, tuple) else ""
)
def test_the_whole_message(
    arguments: tuple[str, ...], message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit code 2, nothing sent, nothing left behind."""
    assert main([*arguments]) == 2
    said = capsys.readouterr()
    assert said.err == f"bulkup: {message.format(here=here)}\n"
    assert said.out == ""
    assert not (here / ".bulkup").exists()


ENVIRONMENT = [
    ({"BULKUP_CONCURENCY": "3"},
     "BULKUP_CONCURENCY: bulkup has no such variable (did you mean BULKUP_CONCURRENCY?) (unset it to go on)", 2),
    ({"BULKUP_CONCURRENCY": "0"}, "BULKUP_CONCURRENCY 0: give a whole number from 1 to 4,096", 2),
    ({"BULKUP_RETRY_FOR": "soon"}, f"BULKUP_RETRY_FOR 'soon': {A_TIME}", 2),
    ({"NEBIUS_API_KEY": ""}, "nebius: no token: set NEBIUS_API_KEY in the environment, or name a token_file in the config", 77),
    ({"NEBIUS_API_KEY": "two\nlines"}, "nebius: NEBIUS_API_KEY: a token is one line of printable ASCII without spaces", 77),
    ({"HTTPS_PROXY": "socks5://127.0.0.1:1"},
     "HTTPS_PROXY: bulkup does not speak socks5://; name an HTTP proxy, such as http://HOST:PORT", 2),
]  # fmt: skip


@pytest.mark.parametrize(("variables", "message", "code"), ENVIRONMENT)
def test_what_is_wrong_with_the_environment(
    variables: dict[str, str],
    message: str,
    code: int,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main([*UP]) == code
    assert capsys.readouterr().err.splitlines()[-1] == f"bulkup: {message}"


def test_verbose_shows_no_traceback_of_a_mistake(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It lies in what was given, not in the code."""
    assert main([*UP, "--concurrency", "0", "-v"]) == 2
    assert capsys.readouterr().err == "bulkup: --concurrency 0: give a whole number from 1 to 4,096\n"


@pytest.mark.parametrize("command", [("status",), ("runs",), ("resume", "x"), ("pause",)])
def test_commands_about_runs_refuse_unknown_variables_too(
    command: tuple[str, ...], here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BULKUP_STATEDIR", "elsewhere")
    assert main([*command]) == 2
    said = capsys.readouterr().err
    assert said == (
        "bulkup: BULKUP_STATEDIR: bulkup has no such variable (did you mean BULKUP_STATE_DIR?) (unset it to go on)\n"
    )
