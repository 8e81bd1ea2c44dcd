"""`configs/gsm8k.toml` maps all of GSM8K's training rows."""

from __future__ import annotations

import gzip
import json
import tomllib
from pathlib import Path

from bulkup.destinations.collinear.rows import TARGET as COLLINEAR
from bulkup.encoding import RowOptions, decide
from bulkup.rows.mapping import parse_mapping
from tests.encoding.lines import block

ROOT = Path(__file__).parents[2]


def test_every_row_gets_its_integer() -> None:
    data = gzip.decompress((ROOT / "bulkup/demo_data/gsm8k-train.jsonl.gz").read_bytes())
    config = tomllib.loads((ROOT / "configs/gsm8k.toml").read_text())
    mapping = parse_mapping(config["collinear"]["mapping"])
    plan = decide(block(data), COLLINEAR, RowOptions(mapping=mapping))
    assert plan.describe() == "mapping → conv_prefix, response, ground_truth"
    made = plan.encoder().encode(block(data))
    assert (made.rows, made.blank, made.rejects) == (7473, 0, ())
    for line, row in zip(data.splitlines(), json.loads(b"[" + made.body + b"]"), strict=True):
        source = json.loads(line)
        answer = source["answer"]
        assert row == {
            "conv_prefix": [{"role": "user", "content": source["question"]}],
            "response": {"role": "assistant", "content": answer},
            "ground_truth": int(answer.rsplit("#### ", 1)[1].replace(",", "")),
        }
        assert type(row["ground_truth"]) is int
