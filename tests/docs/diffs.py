"""Reads the diffs of a Markdown page and applies them to a folder.

Hunks have no line numbers: the lines of a hunk that are not new must stand in the file exactly once. So a
page stays right when lines above them come or go, and is refused when the code that it shows has changed.
"""

import re
from pathlib import Path


def diffs(page: str) -> dict[str, str]:
    """Returns the diff blocks of a page by the heading they stand under."""
    found, heading, lines = {}, "", iter(page.splitlines())
    for line in lines:
        if match := re.match(r"#+ (.*)", line):
            heading = match[1]
        elif line.strip() == "```diff":
            block = []
            for inside in lines:
                if inside.strip() == "```":
                    break
                block.append(inside)
            found[heading] = "\n".join([found[heading], *block] if heading in found else block)
    return found


def apply(diff: str, folder: Path) -> list[Path]:
    """Applies a diff to the files of a folder and returns their paths.

    Raises:
      ValueError: The lines that a hunk changes do not stand in its file exactly once.
    """
    changed = []
    parts = re.split(r"^--- (.*)\n\+\+\+ b/(.*)\n", diff, flags=re.MULTILINE)[1:]
    for before, name, hunks in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        path = folder / name.strip()
        text = "" if before.strip() == "/dev/null" else path.read_text()
        for hunk in re.split(r"^@@.*\n", hunks, flags=re.MULTILINE)[1:]:
            lines = [line or " " for line in hunk.rstrip("\n").split("\n")]
            old = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
            new = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
            if text and text.count(old) != 1:
                raise ValueError(f"{name} holds these lines {text.count(old)} times, not once:\n{old}")
            text = text.replace(old, new, 1) if text else new
        path.write_text(text)
        changed.append(path)
    return changed
