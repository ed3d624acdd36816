"""Which of many picture files can be used: each is decoded once, and what came of it is remembered.

The answers are kept in $BIGGAN_CACHE, by default ~/.cache/biggan_jax, under the folder's path, and hold for
as long as a file keeps its size and time of change. Nothing is written beside the pictures.
"""

import concurrent.futures
import dataclasses
import gzip
import hashlib
import json
import logging
import os
import stat
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from biggan_jax.data.decode import UnusablePicture, decode_square, shorter_side
from biggan_jax.runtime.caches import cache_folder
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import CACHE, write_file
from biggan_jax.runtime.progress import track

VERSION = 1  # of what decode.py takes and of the file below; another one scans anew
RESOLUTION = 64  # whatever the run's: a JPEG that decodes at one scale decodes at all
SMALLEST_SIDE = 8  # pixels; less is a placeholder or a tracking dot, no picture
AT_ONCE = 64


@dataclasses.dataclass(frozen=True)
class Found:
    """What a scan found of one file: its picture's shorter side, or the reason why it can't be used."""

    side: int
    reason: str


def scan(root: Path, paths: Sequence[str]) -> list[Found]:
    """Decodes the files `paths`, given relative to `root`, or looks up what came of it; in their order."""
    memory = _memory_of(root)
    known = _remembered(memory)
    stamps = [_stamp(root / path) for path in paths]
    found: dict[str, tuple[list[int], Found]] = {}
    todo: list[tuple[str, list[int]]] = []
    for path, stamp in zip(paths, stamps, strict=True):
        if isinstance(stamp, Found):
            found[path] = [], stamp
        elif path in known and known[path][0] == stamp:
            found[path] = known[path]
        else:
            todo.append((path, stamp))
    if todo:
        try:
            for part in track(_checked(root, todo), "checking pictures", len(todo), unit="files"):
                found.update(part)
        finally:  # also what an interrupted scan has done
            _remember(memory, found)
    return [found[path][1] for path in paths]


def _checked(
    root: Path, todo: Sequence[tuple[str, list[int]]]
) -> Iterator[tuple[int, dict[str, tuple[list[int], Found]]]]:
    def check(start: int) -> dict[str, tuple[list[int], Found]]:
        part = todo[start : start + AT_ONCE]
        return {path: (stamp, _check(root / path)) for path, stamp in part}

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for part in pool.map(check, range(0, len(todo), AT_ONCE)):
                yield len(part), part
        finally:
            pool.shutdown(cancel_futures=True)


def _check(path: Path) -> Found:
    try:
        encoded = path.read_bytes()
        side = shorter_side(encoded)
        if side < SMALLEST_SIDE:
            return Found(side, f"its shorter side has {side} pixels, and {SMALLEST_SIDE} is the least")
        decode_square(encoded, RESOLUTION)
    except OSError as error:
        return Found(0, f"cannot be read: {error.strerror or error}")
    except UnusablePicture as error:
        return Found(0, str(error))
    return Found(side, "")


def _stamp(path: Path) -> list[int] | Found:
    """Size and time of change, which a file keeps while it is the same."""
    try:
        status = path.stat()
    except OSError as error:  # a link to nowhere, or to itself
        return Found(0, f"cannot be read: {error.strerror}")
    if not stat.S_ISREG(status.st_mode):  # reading from a pipe would wait for ever
        return Found(0, "no ordinary file")
    return [status.st_size, status.st_mtime_ns]


def _memory_of(root: Path) -> Path:
    name = hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:32]
    return cache_folder("scans", f"{name}.json.gz")


def _remembered(memory: Path) -> dict[str, tuple[list[int], Found]]:
    try:
        content = json.loads(gzip.decompress(memory.read_bytes()))
        if content["version"] != VERSION:
            return {}
        return {path: (stamp, Found(*found)) for path, (stamp, *found) in content["files"].items()}
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError):
        return {}  # it is only a memory


def _remember(memory: Path, found: dict[str, tuple[list[int], Found]]) -> None:
    files = {path: (stamp, item.side, item.reason) for path, (stamp, item) in found.items() if stamp}
    content = json.dumps({"version": VERSION, "files": files}).encode()
    try:
        write_file(memory, gzip.compress(content, compresslevel=1), CACHE, shared=True)
    except UserError as error:
        logging.warning("the results of the scan are not kept, and the next start scans again: %s", error)
