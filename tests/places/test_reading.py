"""What stands in other places reads as it would from a local disk."""

from __future__ import annotations

import gzip
import io
import itertools
import random
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import aclosing

import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest

from bulkup.errors import SourceChanged, UsageProblem
from bulkup.model import Block
from bulkup.sources import PlaceAccess, Source, hide, open_source
from bulkup.sources.places import fetching, file
from tests.places.servers import S3, Web, WebFile
from tests.sources.reading import Row, expected_rows, rows_of

MAX_ROW = 5000
WINDOW = 1000


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "WINDOW_BYTES", WINDOW)
    monkeypatch.setattr(fetching, "LAST_ROW_BYTES", 50)
    monkeypatch.setattr("bulkup.sources.json_lines.WINDOW_BYTES", WINDOW)
    monkeypatch.setattr(fetching, "_LONGEST_WAIT_S", 0.01)


def lines(seed: int, count: int) -> bytes:
    some = random.Random(seed)
    return b"".join(b'{"a": "%s"}\n' % (b"x" * some.choice((1, 20, 90, 1500))) for _ in range(count))


def opened(*locators: str, endpoint: str | None = None) -> Source:
    access = PlaceAccess(endpoint_url=endpoint)
    return open_source([hide(one) for one in locators], max_row_bytes=MAX_ROW, block_bytes=400, access=access)


async def read(source: Source, *cuts: int) -> list[Row]:
    """All rows, read range by range."""
    edges = [0, *cuts, 1 << 60 if source.size is None else source.size]
    rows: list[Row] = []
    async with aclosing(source.cursor()) as cursor:
        for start, stop in itertools.pairwise(edges):
            async with aclosing(cursor.read(start, stop)) as items:
                async for item in items:
                    rows += rows_of(item)
    return rows


@pytest.mark.parametrize("seed", range(4))
async def test_a_web_servers_file_gives_the_same_rows_whatever_the_ranges(web: Web, seed: int) -> None:
    data = lines(seed, 60) + (b"" if seed % 2 else b'{"a": "no line end"}')
    web.files["/rows.jsonl"] = WebFile(data)
    source = opened(f"{web.url}/rows.jsonl")
    assert source.any_range
    assert not source.verbatim
    cuts = sorted(random.Random(seed).sample(range(1, len(data)), 7))
    assert await read(source) == await read(source, *cuts) == expected_rows([data], MAX_ROW)


async def test_an_object_gives_the_same_rows(s3: S3) -> None:
    data = lines(9, 40)
    s3.put("some/rows.jsonl", data)
    s3.put("some/rows-10.jsonl.gz", gzip.compress(data))
    s3.put("some/_SUCCESS", b"")
    s3.put("something.jsonl", b"{}\n")
    source = opened("s3://rows-of-ours/some/rows.jsonl", endpoint=s3.url)
    assert await read(source, 777, 3000) == expected_rows([data], MAX_ROW)
    both = opened("s3://rows-of-ours/some/", endpoint=s3.url)
    assert [file.uri for file in both.files] == [
        f"s3://rows-of-ours/some/rows{name}" for name in ("-10.jsonl.gz", ".jsonl")
    ]
    assert await read(both) == expected_rows([data, data], MAX_ROW)
    assert [file.uri for file in opened("s3://rows-of-ours/**/*.gz", endpoint=s3.url).files] == [both.files[0].uri]


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_packed_file_goes_on_where_its_connection_broke(web: Web, ranges: bool) -> None:
    data = random.Random(1).randbytes(6000).hex().encode()
    text = b'{"a": "%s"}\n' % data[:3000] * 3 + b'{"b": "%s"}\n' % data[3000:6000]
    web.files["/rows.gz"] = WebFile(gzip.compress(text), ranges=ranges)
    source = opened(f"{web.url}/rows.gz")
    web.faults.extend([("reset", 100), 503, ("reset", 700), ("drip", 0.01)])
    assert await read(source) == expected_rows([text], MAX_ROW)
    assert not web.faults


async def test_what_gives_no_ranges_is_read_forward(web: Web) -> None:
    data = lines(3, 30)
    web.files["/rows.jsonl"] = WebFile(data, ranges=False, length=False)
    source = opened(f"{web.url}/rows.jsonl")
    assert not source.any_range
    assert source.files[0].size is None
    assert await read(source) == expected_rows([data], MAX_ROW)


@pytest.mark.parametrize("etag", ['"v1"', 'W/"v1"'])
@pytest.mark.parametrize("ranges", [True, False])
async def test_another_file_of_that_name_is_a_changed_source(web: Web, ranges: bool, etag: str) -> None:
    web.files["/rows.jsonl"] = WebFile(lines(3, 30), etag, ranges=ranges)
    source = opened(f"{web.url}/rows.jsonl")
    web.files["/rows.jsonl"].etag = '"v2"'
    with pytest.raises(SourceChanged, match=r"rows\.jsonl: has changed since"):
        await read(source)
    del web.files["/rows.jsonl"]
    with pytest.raises(SourceChanged, match=r"rows\.jsonl: is gone"):
        await read(source)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
async def test_another_object_of_that_name_is_a_changed_source(s3: S3, pack: Callable[[bytes], bytes]) -> None:
    s3.put("some/rows", pack(lines(3, 30)))
    source = opened("s3://rows-of-ours/some/rows", endpoint=s3.url)
    s3.put("some/rows", pack(lines(4, 30)))
    with pytest.raises(SourceChanged, match=r"s3://rows-of-ours/some/rows: has changed since") as caught:
        await read(source)
    assert caught.value.exit_code == 6
    s3.delete("some/rows")
    with pytest.raises(SourceChanged, match=r"s3://rows-of-ours/some/rows: is gone"):
        await read(source)


async def test_a_broken_stream_of_a_file_without_a_version_is_not_pieced_together(web: Web) -> None:
    web.files["/rows.jsonl"] = WebFile(lines(3, 30), None, ranges=False)
    source = opened(f"{web.url}/rows.jsonl")
    web.faults.append(("reset", 2000))
    with pytest.raises(SourceChanged, match="does not tell whether the file is still the same"):
        await read(source)


async def test_a_place_that_stays_away_is_given_up(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "GIVE_UP_S", 0.05)
    web.files["/rows.jsonl"] = WebFile(lines(3, 30))
    source = opened(f"{web.url}/rows.jsonl")
    web.faults.extend([503] * 1000)
    with pytest.raises(
        Exception, match=r"rows\.jsonl: cannot be read now: the server answered 503. The same command"
    ) as caught:
        await read(source)
    assert getattr(caught.value, "exit_code", None) == 75


async def test_an_empty_file_is_empty(web: Web, s3: S3) -> None:
    web.files["/rows.jsonl"] = WebFile(b"")
    s3.put("empty.jsonl", b"")
    assert await read(opened(f"{web.url}/rows.jsonl")) == []
    assert await read(opened("s3://rows-of-ours/empty.jsonl", endpoint=s3.url)) == []


async def test_below_a_prefix_the_same_is_passed_over_as_in_a_folder(s3: S3) -> None:
    frame = io.BytesIO()
    pl.DataFrame({"text": ["t"] * 3}).write_ipc(frame, compat_level=pl.CompatLevel.oldest())
    for name in ("train/data-0.arrow", "train/cache-1.arrow"):
        s3.put(f"saved/{name}", frame.getvalue())
    s3.put("saved/dataset_dict.json", b'{"splits": ["train"]}')
    s3.put("saved/train/state.json", b'{"text": 1}')
    s3.put("plain/README.md", b"# rows")
    s3.put("plain/.part-0.jsonl.crc", b"crc")
    s3.put("plain/_SUCCESS", b"")
    s3.put("plain/part-0.jsonl", b'{"text": "t"}\n' * 3)
    s3.put("plain/dataset_infos.json", b'{"features": {"dtype": "string"}}')
    s3.put("delta/t/_delta_log/0.json", b"{}\n")
    s3.put("delta/t/part-0.jsonl", b'{"text": "t"}\n')
    s3.put("iceberg/metadata/v2.metadata.json", b"{}\n")
    s3.put("iceberg/data/part-0.jsonl", b'{"text": "t"}\n')
    bucket = "s3://rows-of-ours"
    for prefix, name in {"saved": "train/data-0.arrow", "plain": "part-0.jsonl"}.items():
        source = opened(f"{bucket}/{prefix}/", endpoint=s3.url)
        assert [file.uri for file in source.files] == [f"{bucket}/{prefix}/{name}"]
        source.close()
    for prefix, kind in {
        "delta": "delta/t: is a table of Delta Lake",
        "iceberg": "iceberg: is a table of Iceberg",
    }.items():
        with pytest.raises(UsageProblem, match=kind):
            opened(f"{bucket}/{prefix}/", endpoint=s3.url)
    opened(f"{bucket}/iceberg/data/*.jsonl", endpoint=s3.url).close()


def test_what_is_not_there_is_named(web: Web, s3: S3) -> None:
    s3.put("some/rows.jsonl", b"{}\n")
    for locator, words in (
        (f"{web.url}/rows.jsonl", r"there is no such file \(404\)"),
        ("s3://nobodys-bucket/rows.jsonl", "there is no bucket called nobodys-bucket"),
        ("s3://nobodys-bucket/", "there is no bucket called nobodys-bucket"),
        ("s3://rows-of-ours/none.jsonl", "there is no such object"),
        ("s3://rows-of-ours/some", "there is no such object.*write s3://rows-of-ours/some/"),
        ("s3://rows-of-ours/*.csv", "no object matches"),
        ("s3://rows-of-ours/none/", "there is no object below it"),
        ("ftp://example.com/rows.jsonl", "ftp://: is not read"),
        ("https://", "no URL"),
        ("s3://", "names no bucket"),
    ):
        with pytest.raises(UsageProblem, match=words):
            opened(locator, endpoint=s3.url)


@pytest.mark.parametrize(
    ("locator", "module"),
    [("s3://b/x.jsonl", "obstore"), ("gs://b/x.jsonl", "obstore"), ("hf://datasets/o/n/x.jsonl", "huggingface_hub")],
)
def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch, locator: str, module: str) -> None:
    monkeypatch.setattr(f"bulkup.sources.places.{'hub' if module != 'obstore' else 'clouds'}.find_spec", lambda _: None)
    with pytest.raises(UsageProblem, match=rf"needs the package {module}: pip install 'bulkup\[remote\]'$"):
        opened(locator)


async def test_many_small_files_are_fetched_side_by_side(web: Web) -> None:
    data = [lines(number, 3) for number in range(10)]
    for number, one in enumerate(data):
        web.files[f"/{number}.jsonl"] = WebFile(one)
        web.files[f"/{number}.jsonl.gz"] = WebFile(gzip.compress(one))
    web.pause_s = 0.05
    source, packs = (opened(*(f"{web.url}/{n}.jsonl{end}" for n in range(10))) for end in ("", ".gz"))
    assert web.most_at_once >= 8
    for either in (source, packs):
        web.most_at_once = 0
        assert await read(either, 1000) == expected_rows(data, MAX_ROW)
        assert web.most_at_once >= 4


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
async def test_a_table_is_read_by_the_blocks_that_are_needed(
    web: Web, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(file, "BLOCK_BYTES", 4000)
    table = pa.table({"number": range(20_000), "text": [f"text {number}" for number in range(20_000)]})
    out = io.BytesIO()
    if kind == "parquet":
        pa.parquet.write_table(table, out, row_group_size=2000, compression="none", use_dictionary=False)
    else:
        with pa.ipc.new_file(out, table.schema) as writer:
            writer.write_table(table, max_chunksize=500)
    data = out.getvalue()
    web.files["/rows"] = WebFile(data)
    source = opened(f"{web.url}/rows")
    assert source.any_range
    assert source.size is not None
    web.asked.clear()
    rows = await _lines(source, source.size // 2, source.size // 2 + 1000)
    assert rows[0] == b'{"number":10000,"text":"text 10000"}'
    if kind == "parquet":  # the headers of Arrow's batches stand all over the file
        assert 4000 * len(web.asked) < len(data) * 2 // 3
    assert len(await _lines(source, 0, source.size)) == 20_000
    web.files["/rows"].etag = '"v2"'
    with pytest.raises(SourceChanged, match=r"rows: has changed since"):
        await _lines(source, 0, source.size)


async def _lines(source: Source, start: int, stop: int) -> list[bytes]:
    async with aclosing(source.cursor()) as cursor, aclosing(cursor.read(start, stop)) as items:
        return [line async for item in items if isinstance(item, Block) for line in item.data.splitlines()]


async def test_names_are_taken_as_they_are(s3: S3, web: Web) -> None:
    names = [
        "a b/ü.jsonl",
        "date=2024-01-01/p+1.jsonl",
        "x#1%41.jsonl",
        "q?w.jsonl",
        "tilde~'(1)!.jsonl",
        "br[1]{2}.jsonl",
    ]
    for name in names:
        s3.put(f"odd/{name}", b'{"a": 1}\n')
    assert len(await read(opened("s3://rows-of-ours/odd/", endpoint=s3.url))) == len(names)
    for name in names:
        assert len(await read(opened(f"s3://rows-of-ours/odd/{name}", endpoint=s3.url))) == 1
    s3.put("odd/a//b.jsonl", b"{}\n")
    with pytest.raises(UsageProblem, match="an object's name cannot be read"):
        opened("s3://rows-of-ours/odd/", endpoint=s3.url)
    web.files["/a b/ü.jsonl"] = WebFile(b'{"a": 1}\n')
    for path in ("/a b/ü.jsonl", "/a%20b/%C3%BC.jsonl"):
        assert len(await read(opened(web.url + path))) == 1


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
async def test_the_members_of_an_archive_are_read(web: Web, kind: str) -> None:
    members = {f"rows/{number}.jsonl": lines(number, 8) for number in range(6)}
    members["more.jsonl.gz"] = gzip.compress(lines(9, 8))
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(fileobj=out, mode="w:gz" if kind == "tar.gz" else "w") as tar:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    web.files["/all"] = WebFile(out.getvalue())
    source = opened(f"{web.url}/all")
    assert [file.uri for file in source.files] == [f"{web.url}/all::{name}" for name in members]
    web.faults.extend([None, ("reset", 100), 503])
    contents = [*(lines(number, 8) for number in range(6)), lines(9, 8)]
    assert await read(source) == expected_rows(contents, MAX_ROW)
    web.files["/all"].etag = '"v2"'
    with pytest.raises(SourceChanged, match="has changed since"):
        await read(source)
    web.files["/all"] = WebFile(out.getvalue(), ranges=False)
    with pytest.raises(UsageProblem, match="its server gives no parts of this"):
        opened(f"{web.url}/all")
