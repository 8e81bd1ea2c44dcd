"""What all cases of one run share: the folder with the files, the size, the certificate, the Pythons."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.certificate import Certificate, NoCertificate, make_certificate
from benchmarks.kinds import Kind
from benchmarks.processes import ROOT
from benchmarks.rows import Shape, Text

__all__ = ["Bench", "BrokenRun", "Source", "Unavailable"]

LEAST_BYTES = 1_000_000
_PIECE_BYTES = 1024 * 1024
_TOKENS = {"NEBIUS_API_KEY": "benchmark-nebius", "COLLINEAR_API_KEY": "benchmark-collinear"}


class BrokenRun(Exception):
    """A contender that failed, or that did not bring every row over once. Its text says what was found."""


class Unavailable(Exception):
    """What a case needs is not there. Its text says what."""


@dataclass(frozen=True, slots=True)
class Source:
    """A generated file: *path* is what is uploaded, *bytes* and *rows* are those of the rows, unpacked."""

    path: Path
    bytes: int
    rows: int

    @classmethod
    def of(cls, path: Path, packed: Path | None = None) -> Source:
        """The file at *path*, its rows counted; *packed* is the same, gzipped, and stands for it."""
        rows = 0
        with path.open("rb", buffering=0) as stream:
            while piece := stream.read(_PIECE_BYTES):
                rows += piece.count(b"\n")
        return cls(packed or path, path.stat().st_size, rows)

    def warm(self) -> None:
        """Bring the whole file into the page cache: what is measured is not the disk, and some machines drop idle pages."""
        with self.path.open("rb", buffering=0) as stream:
            while stream.read(_PIECE_BYTES):
                pass


@dataclass(slots=True, kw_only=True)
class Bench:
    """One run's settings and what it has made so far. *size* is that of a whole file in bytes; *pythons* run peers, by name."""

    folder: Path
    size: int
    text: Text
    check: bool = False
    smoke: bool = False
    pythons: dict[str, str] = field(default_factory=dict)
    timeout_s: float = 1800.0
    _sources: dict[str, Source] = field(default_factory=dict)
    _certificate: Certificate | None = None

    def source(self, shape: Shape, size: int, *, packed: bool = False, kind: Kind = Kind.JSON_LINES) -> Source:
        """The file of *shape* with *size* bytes of JSON lines, made if it is not there; its rows in another *kind* of file stand
        for it. By a process of its own: this one must stay small."""
        name = f"{shape}-{self.text}-{size}"
        key = f"{name}.{kind}" + (".gz" if packed else "")
        if key not in self._sources:
            path, other = self.folder / f"{name}.jsonl", None
            if packed or kind is not Kind.JSON_LINES:
                other = self.folder / key
            self._make(path, other if packed else None, shape, size)
            if other is not None and kind is not Kind.JSON_LINES:
                self._convert(path, other, kind)
            self._sources[key] = Source.of(path, other)
        return self._sources[key]

    def sized(self, share: float) -> int:
        """Bytes of *share* of a whole file."""
        return max(LEAST_BYTES, int(self.size * share))

    def certificate(self) -> Certificate:
        """The sink's. Raises `Unavailable`."""
        if self._certificate is None:
            folder = self.folder / "certificate"
            folder.mkdir(mode=0o700, exist_ok=True)
            try:
                self._certificate = make_certificate(folder)
            except NoCertificate as why:
                raise Unavailable(str(why)) from None
        return self._certificate

    def python(self, peer: str) -> str:
        """The Python that runs *peer*."""
        return self.pythons.get(peer, sys.executable)

    def environment(self) -> dict[str, str]:
        """For contenders: tokens, and the authority of the sink's certificate where there is one."""
        known = {"SSL_CERT_FILE": str(self._certificate.authority)} if self._certificate else {}
        return {**os.environ, **_TOKENS, **known, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}

    def _convert(self, rows: Path, path: Path, kind: Kind) -> None:
        if not path.exists():
            part = path.with_suffix(".part")
            command = [sys.executable, "-m", "benchmarks.kinds", str(rows), str(part), kind]
            subprocess.run(command, check=True, cwd=ROOT)
            part.rename(path)

    def _make(self, path: Path, packed: Path | None, shape: Shape, size: int) -> None:
        if path.exists() and (packed is None or packed.exists()):
            return
        part = path.with_suffix(".part")
        command = [sys.executable, "-m", "benchmarks.rows", "--shape", shape, "--text", self.text]
        command += ["--size", str(size), "--out", str(part)]
        if packed is not None:
            command += ["--pack", str(packed)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        part.rename(path)
