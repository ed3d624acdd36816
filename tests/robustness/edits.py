"""Damage to files: edits that flip, cut, swap, grow and overwrite bytes, or replace values of JSON.

An edit is a list that JSON can hold, so that a corpus of edits is readable text. Positions are parts of a
million of the file's length.
"""

import io
import json
import zipfile
from typing import Any

from hypothesis import strategies as st

MILLION = 10**6
NASTY = (
    None,
    True,
    -1,
    0,
    2**63,
    1e308,
    float("nan"),
    "",
    "\udcff",
    "../x",
    [],
    {},
    [[]],
    {"": 0},
    "9" * 400,
)

_place = st.integers(0, MILLION)
_bytes = st.binary(min_size=1, max_size=12).map(bytes.hex)
_raw = st.one_of(
    st.tuples(st.just("flip"), _place, st.integers(0, 7)),
    st.tuples(st.just("cut"), _place),
    st.tuples(st.just("swap"), _place, _place, st.integers(1, 64)),
    st.tuples(st.just("grow"), _place, _bytes),
    st.tuples(st.just("copy"), _place, _place, st.integers(1, 4096)),
    st.tuples(st.just("set"), _place, _bytes),
)
_json = st.tuples(st.just("json"), st.integers(0, 10**4), st.integers(0, len(NASTY) - 1))
_drop = st.tuples(st.just("drop"), st.integers(0, 10**4))
_member = st.tuples(st.just("member"), st.integers(0, 20), _raw)


def edits(kind: str) -> st.SearchStrategy[list[Any]]:
    """Returns a strategy for the edits of a file: "json" and "zip" have further ones, which keep its form."""
    further = {"json": [_json, _drop], "zip": [_member]}.get(kind, [])
    return st.lists(st.one_of(_raw, *further), min_size=1, max_size=3)


def apply(content: bytes, edits: list[Any]) -> bytes:
    """Returns the damaged content; an edit that does not fit, as one of JSON after a cut, does nothing."""
    for edit in edits:
        try:
            content = _apply(content, edit)
        except Exception:  # whatever zipfile raises for an archive that an earlier edit has damaged
            continue
    return content


def _apply(content: bytes, edit: Any) -> bytes:
    kind, *rest = edit
    if kind in ("json", "drop"):
        return _edit_json(content, kind, *rest)
    if kind == "member":
        return _edit_member(content, *rest)
    place = rest[0] * max(0, len(content) - 1) // MILLION
    match kind:
        case "flip":
            return content[:place] + bytes([content[place] ^ 1 << rest[1]]) + content[place + 1 :]
        case "cut":
            return content[:place]
        case "swap":
            other, size = rest[1] * max(0, len(content) - 1) // MILLION, rest[2]
            low, high = sorted((place, other))
            a, b = content[low : low + size], content[high : high + size]
            return content[:low] + b + content[low + size : high] + a + content[high + size :]
        case "grow":
            return content[:place] + bytes.fromhex(rest[1]) + content[place:]
        case "copy":
            source = rest[1] * max(0, len(content) - 1) // MILLION
            return content[:place] + content[source : source + rest[2]] + content[place:]
        case "set":
            new = bytes.fromhex(rest[1])
            return content[:place] + new + content[place + len(new) :]
    raise ValueError(kind)


def _edit_json(content: bytes, kind: str, number: int, value: int = 0) -> bytes:
    lines = content.splitlines()
    first = json.loads(lines[0]) if len(lines) > 1 and lines[1].startswith(b"{") else None  # JSON Lines
    values = json.loads(content) if first is None else [json.loads(line) for line in lines]
    places: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, child in items:
            places.append((node, key))
            collect(child)

    collect(values)
    node, key = places[number % len(places)]
    if kind == "drop":
        del node[key]
    else:
        node[key] = NASTY[value]
    if first is None:
        return json.dumps(values).encode()
    return b"".join(json.dumps(row).encode() + b"\n" for row in values)


def _edit_member(content: bytes, number: int, edit: Any) -> bytes:
    """Edits a member of a zip archive, and stores it with the sum that belongs to it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        members = old.infolist()
        for index, member in enumerate(members):
            inside = old.read(member)
            new.writestr(member.filename, _apply(inside, edit) if index == number % len(members) else inside)
    return buffer.getvalue()
