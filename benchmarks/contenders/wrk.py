"""wrk with one pre-built body: what the machine can carry to this sink. The body is Collinear's form with rows of the file."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from pathlib import Path

from benchmarks.contenders.told import NotAvailable, Stopwatch, tell

_BOUNDARY = "benchmark-wrk"
_SCRIPT = """
local file = io.open({body}, "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "multipart/form-data; boundary={boundary}"
wrk.headers["Authorization"] = "Bearer benchmark"
function done(summary)
  local errors = summary.errors
  io.write(string.format("\\n{{\\"requests\\": %d, \\"microseconds\\": %d, \\"errors\\": %d}}\\n", summary.requests,
    summary.duration, errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contenders.wrk")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--body-bytes", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=4)
    tell(lambda: _loaded(parser.parse_args()))


def _loaded(wanted: argparse.Namespace) -> dict[str, object]:
    if shutil.which("wrk") is None:
        raise NotAvailable("wrk is not installed")
    body, script = wanted.state_dir / "body", wanted.state_dir / "post.lua"
    row_bytes = _form(wanted.source, body, wanted.body_bytes)
    script.write_text(_SCRIPT.format(body=json.dumps(str(body)), boundary=_BOUNDARY))
    command = ["wrk", "-t", "2", "-c", str(wanted.connections), "-d", f"{wanted.seconds}s", "--timeout", "30s"]
    clock = Stopwatch()
    done = subprocess.run(
        [*command, "-s", str(script), f"{wanted.url}/api/v1/dataset/upload"], check=True, capture_output=True, text=True
    )
    used = clock.read()
    told = json.loads(done.stdout.splitlines()[-1])
    if told["errors"]:
        raise RuntimeError(f"wrk had {told['errors']} errors")
    return {
        "seconds": told["microseconds"] / 1e6,
        "cpu_s": used["cpu_s"],
        "source_bytes": row_bytes * told["requests"],
        "requests": told["requests"],
    }


def _form(source: Path, body: Path, size: int) -> int:
    """Write the form with the file's first rows, about *size* bytes of them; how many bytes of the file these are."""
    with source.open("rb") as stream:
        data = stream.read(size)
    rows = data[: data.rindex(b"\n")]
    fields = "".join(
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\nbench\r\n'
        for name in ("dataset_name", "space_id")
    )
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="chunk.json"\r\n'
    prefix = f"{fields}{head}Content-Type: application/json\r\n\r\n[".encode()
    body.write_bytes(prefix + rows.replace(b"\n", b",") + f"]\r\n--{_BOUNDARY}--\r\n".encode())
    return len(rows) + 1


if __name__ == "__main__":
    main()
