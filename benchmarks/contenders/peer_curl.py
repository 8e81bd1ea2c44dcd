"""`split`, and `curl` by `xargs -P`: files of whole lines made arrays by `sed` on the way, rows mapped by `jq`."""

from __future__ import annotations

import shutil
import subprocess

from benchmarks.contenders.peer_rows import SPACE_ID, arguments
from benchmarks.contenders.told import NotAvailable, Stopwatch, tell

_ARRAY = r"""sed -e '1s/^/[/' -e '$!s/$/,/' -e '$s/$/]/'"""
_MAP = "jq -c '{conv_prefix: .messages[:-1], response: .messages[-1]}'"
_SCRIPT = """set -euo pipefail
cd "$STATE"
{read} "$SOURCE" | split -l "$ROWS" -a 6 --filter='{array} > $FILE.json' - chunk-
ls chunk-*.json | xargs -P "$WORKERS" -I FILE curl -fsS -o /dev/null -H 'Authorization: Bearer benchmark' \
    -F 'file=@FILE;type=application/json' -F dataset_name=bench -F "space_id=$SPACE" "$URL/api/v1/dataset/upload"
"""


def main() -> None:
    """The command."""
    wanted = arguments("peer_curl")

    def work() -> dict[str, object]:
        for tool in ("bash", "split", "sed", "xargs", "curl", *(("jq",) if wanted.mapped else ())):
            if shutil.which(tool) is None:
                raise NotAvailable(f"{tool} is not installed")
        script = _SCRIPT.format(read=_MAP if wanted.mapped else "cat", array=_ARRAY.replace("'", "'\\''"))
        given = {
            "STATE": str(wanted.state_dir),
            "SOURCE": str(wanted.source.resolve()),
            "ROWS": str(wanted.rows),
            "WORKERS": str(wanted.workers),
            "SPACE": SPACE_ID,
            "URL": wanted.url,
            "PATH": "/usr/local/bin:/usr/bin:/bin",
        }
        clock = Stopwatch()
        subprocess.run(["bash", "-c", script], check=True, env=given)
        return {**clock.read()}

    tell(work)


if __name__ == "__main__":
    main()
