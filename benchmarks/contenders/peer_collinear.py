"""What Collinear's published client documents for an upload, done again: its package of that time is not on PyPI any more (the
`collinear` that is has no dataset upload).

A DataFrame, gone through row by row, becomes a list of objects; `json.dump` writes them to one file, and that goes as one form. The
client leaves `ground_truth` an empty object and `context` null where no column is named for them, and so does this.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

import aiohttp
import pandas as pd

from benchmarks.contenders.peer_rows import arguments, collinear_fields
from benchmarks.contenders.told import Stopwatch, tell


async def _upload(wanted: argparse.Namespace) -> int:
    frame: Any = pd.read_json(wanted.source, lines=True)
    if wanted.mapped:
        frame["conv_prefix"], frame["response"] = frame["messages"].str[:-1], frame["messages"].str[-1]
    conversations = [
        {"conv_prefix": list(row["conv_prefix"]), "response": row["response"], "ground_truth": {}, "context": None}
        for _, row in frame.iterrows()
    ]
    path = wanted.state_dir / "dataset.json"
    with path.open("w") as file:
        json.dump(conversations, file)
    headers = {"Authorization": "Bearer benchmark"}
    with path.open("rb") as file:
        form = aiohttp.FormData(collinear_fields())
        form.add_field("file", file, filename="dataset.json", content_type="application/json")
        async with (
            aiohttp.ClientSession(wanted.url, headers=headers) as session,
            session.post("/api/v1/dataset/upload", data=form) as answer,
        ):
            answer.raise_for_status()
            await answer.json()
    return len(conversations)


def main() -> None:
    """The command."""
    wanted = arguments("peer_collinear")

    def work() -> dict[str, object]:
        clock = Stopwatch()
        return {"rows": asyncio.run(_upload(wanted)), **clock.read()}

    tell(work)


if __name__ == "__main__":
    main()
