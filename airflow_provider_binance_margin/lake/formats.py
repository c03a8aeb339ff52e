"""Ordered rows -> bytes, by the key's suffix. Same rows, same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from gzip import GzipFile
from itertools import islice
from typing import Protocol, TypeAlias


class BinaryFile(Protocol):
    """What is written to."""

    def write(self, data: bytes, /) -> object:
        """Append bytes."""

    def flush(self) -> object:
        """Hand on what is held back."""


Write: TypeAlias = Callable[[Iterator[bytes], BinaryFile], None]

_LINES_AT_ONCE = 500
_GZIP_LEVEL = 6  # 9 costs half of all CPU for 3 % of size


@dataclass(frozen=True)
class Format:
    """One way to write rows.

    :param content_type: of the object
    :param write: writes lines (JSON, without line breaks) to a file
    """

    content_type: str
    write: Write


@dataclass(frozen=True)
class Written:
    """What was written.

    :param records: how many rows
    :param sha256: of the uncompressed JSON lines with their newlines, whatever the format
    """

    records: int
    sha256: str


def write_rows(lines: Iterable[bytes], suffix: str, file: BinaryFile) -> Written:
    """Write ordered rows in the format of a suffix.

    :param lines: JSON lines without line breaks
    :param suffix: one of `layout.SUFFIXES`
    :param file: where to; its position is left at the end
    """
    digest, records = hashlib.sha256(), 0

    def counted() -> Iterator[bytes]:
        nonlocal records
        for line in lines:
            digest.update(line + b"\n")
            records += 1
            yield line

    FORMATS[suffix].write(counted(), file)
    return Written(records, digest.hexdigest())


def _write_jsonl(lines: Iterator[bytes], file: BinaryFile) -> None:
    while batch := list(islice(lines, _LINES_AT_ONCE)):
        file.write(b"\n".join(batch) + b"\n")


def _gzipped(write: Write) -> Write:
    """The same, compressed; the header names neither a file nor a time, so that equal rows give equal bytes."""

    def write_gzipped(lines: Iterator[bytes], file: BinaryFile) -> None:
        with GzipFile(filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=file, mtime=0) as packed:
            write(lines, packed)

    return write_gzipped


FORMATS: dict[str, Format] = {
    ".jsonl": Format("application/x-ndjson", _write_jsonl),
    ".jsonl.gz": Format("application/gzip", _gzipped(_write_jsonl)),
}
