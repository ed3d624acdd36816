"""Decodes each of many picture files once, to learn which are usable, and keeps the results.

The results are kept in $BIGGAN_CACHE, by default ~/.cache/biggan_jax, under the path of the folder. They hold
while a file keeps its size and time of change. Nothing is written beside the pictures.
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
from biggan_jax.data.source import key_of
from biggan_jax.runtime.caches import cache_folder
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.files import CACHE, write_file
from biggan_jax.runtime.json_values import parse_json
from biggan_jax.runtime.progress import track

VERSION = 2  # of decode.py's rules and of the file below; another version scans again
RESOLUTION = 64  # for every run: a JPEG that decodes at one scale decodes at all scales
SMALLEST_SIDE = 8  # pixels; smaller images are placeholders or tracking dots
FILES_PER_TASK = 64


@dataclasses.dataclass(frozen=True)
class ScanResult:
    """The result of scanning one file.

    Attributes:
      side: Pixels of the picture's shorter side; 0 if it is not known.
      reason: Reason why the picture is unusable; empty for a usable picture.
      key: Hash of the file's content, as in `Source.keys`; 0 for an unusable picture.
    """

    side: int
    reason: str
    key: int = 0


def scan(root: Path, paths: Sequence[str]) -> list[ScanResult]:
    """Scans picture files, or looks up the results of an earlier scan.

    Args:
      root: Folder of the pictures.
      paths: Paths of the files relative to `root`.

    Returns:
      One result for each path, in order.
    """
    file = _results_file(root)
    known = _load(file)
    stamps = [_stamp(root / path) for path in paths]
    results: dict[str, tuple[list[int], ScanResult]] = {}
    todo: list[tuple[str, list[int]]] = []
    for path, stamp in zip(paths, stamps, strict=True):
        if isinstance(stamp, ScanResult):
            results[path] = [], stamp
        elif path in known and known[path][0] == stamp:
            results[path] = known[path]
        else:
            todo.append((path, stamp))
    if todo:
        try:
            for part in track(_scan_files(root, todo), "checking pictures", len(todo), unit="files"):
                results.update(part)
        finally:  # an interrupted scan keeps its results too
            _save(file, results)
    return [results[path][1] for path in paths]


def _scan_files(
    root: Path, todo: Sequence[tuple[str, list[int]]]
) -> Iterator[tuple[int, dict[str, tuple[list[int], ScanResult]]]]:
    def check(start: int) -> dict[str, tuple[list[int], ScanResult]]:
        part = todo[start : start + FILES_PER_TASK]
        return {path: (stamp, _check(root / path)) for path, stamp in part}

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for part in pool.map(check, range(0, len(todo), FILES_PER_TASK)):
                yield len(part), part
        finally:
            pool.shutdown(cancel_futures=True)


def _check(path: Path) -> ScanResult:
    try:
        encoded = path.read_bytes()
        side = shorter_side(encoded)
        if side < SMALLEST_SIDE:
            return ScanResult(side, f"its shorter side has {side} pixels, and {SMALLEST_SIDE} is the least")
        decode_square(encoded, RESOLUTION)
    except OSError as error:
        return ScanResult(0, f"cannot be read: {error.strerror or error}")
    except UnusablePicture as error:
        return ScanResult(0, str(error))
    return ScanResult(side, "", key_of(encoded))


def _stamp(path: Path) -> list[int] | ScanResult:
    """Returns size and time of change, which identify a file's content, or a result for an unusable file."""
    try:
        status = path.stat()
    except OSError as error:  # a dangling link, or a link to itself
        return ScanResult(0, f"cannot be read: {error.strerror}")
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would block
        return ScanResult(0, "not a regular file")
    return [status.st_size, status.st_mtime_ns]


def _results_file(root: Path) -> Path:
    name = hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:32]
    return cache_folder("scans", f"{name}.json.gz")


def _load(file: Path) -> dict[str, tuple[list[int], ScanResult]]:
    try:
        content = parse_json(gzip.decompress(file.read_bytes()))
        if content["version"] != VERSION:
            return {}
        return {
            path: (stamp, ScanResult(int(side), str(reason), int(key) % 2**64))
            for path, (stamp, side, reason, key) in content["files"].items()
        }
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError):
        return {}  # without earlier results, the scan starts again


def _save(file: Path, results: dict[str, tuple[list[int], ScanResult]]) -> None:
    files = {
        path: (stamp, item.side, item.reason, item.key) for path, (stamp, item) in results.items() if stamp
    }
    content = json.dumps({"version": VERSION, "files": files}).encode()
    try:
        write_file(file, gzip.compress(content, compresslevel=1), CACHE, shared=True)
    except UserError as error:
        logging.warning("the results of the scan are not kept, and the next start scans again: %s", error)
