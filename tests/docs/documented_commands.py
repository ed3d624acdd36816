"""Reads the commands of Markdown pages: fenced blocks in bash, sh and python, with the comments before them.

A comment directly before a block changes how `make docs-test` runs it:

  <!-- docs-test: skip=REASON -->              the block is not run
  <!-- docs-test: reduce=FLAGS -->             flags that follow every command of the block, for smaller sizes
  <!-- docs-test: file=PATH -->                the block is the content of a file
  <!-- docs-test: replace=OLD => NEW -->       text that is smaller in the test than on the page

Several are separated by semicolons; a reason for skipping is the last. A block without a comment runs as it
is, with the reductions of its module.
"""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("bash", "sh", "python")
COMMENT = re.compile(r"<!--\s*docs-test:\s*(.*?)\s*-->")
FENCE = re.compile(r"^```(\w*)\s*$")
MODULE = re.compile(r"-m ((?:biggan_jax|benchmarks|launch)\.\w+)")


class PageError(ValueError):
    """A page with a comment that the runner does not understand."""


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
      page: Path of the page, relative to the repository.
      line: Number of the line of the block's fence.
      language: One of `LANGUAGES`.
      code: Content of the block, with its replacements done.
      skip: Reason why the block is not run, or "".
      reduce: Flags that follow each of its commands.
      file: Path of the file that the block is the content of, or "".
    """

    page: str
    line: int
    language: str
    code: str
    skip: str = ""
    reduce: str = ""
    file: str = ""

    @property
    def commands(self) -> list[str]:
        """The commands of a shell block, continued lines joined; a Python block is one command."""
        if self.language == "python":
            return [self.code]
        lines = re.sub(r"\\\n\s*", "", self.code).splitlines()
        return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def pages() -> list[Path]:
    """Returns the pages in the order of the site's navigation, then the README."""
    nav = re.findall(r"^\s*- [^:\n]+: ([\w./-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    return [*(path for name in nav if (path := ROOT / "docs" / name).is_file()), ROOT / "README.md"]


def blocks(page: Path) -> Iterator[Block]:
    """Yields the blocks of a page that hold commands, in order.

    Raises:
      PageError: A comment has an unknown word or no reason, or stands before no block.
    """
    name = str(page.relative_to(ROOT)) if page.is_relative_to(ROOT) else page.name
    lines, number = page.read_text().splitlines(), 0
    comment: str | None = None
    while number < len(lines):
        if match := COMMENT.fullmatch(lines[number].strip()):
            comment = match[1]
        elif match := FENCE.match(lines[number]):
            start, number = number, number + 1
            while lines[number].strip() != "```":
                number += 1
            if match[1] in LANGUAGES:
                code = "\n".join(lines[start + 1 : number]) + "\n"
                yield _block(name, start + 1, match[1], code, comment or "")
                comment = None
        elif lines[number].strip() and comment is not None:
            raise PageError(f"{name}:{number}: the comment stands before no command: {comment!r}")
        number += 1


def _block(page: str, line: int, language: str, code: str, comment: str) -> Block:
    fields = {}
    comment, skip, reason = comment.partition("skip=")
    parts = [*comment.split(";"), skip + reason]
    for part in filter(None, map(str.strip, parts)):
        word, _, value = part.partition("=")
        if word not in ("skip", "reduce", "file", "replace") or not value:
            raise PageError(f"{page}:{line}: {part!r}: give skip=, reduce=, file= or replace=, and a value")
        if word == "replace":
            old, arrow, new = value.partition(" => ")
            if not arrow or old not in code:
                raise PageError(f"{page}:{line}: {part!r}: the block does not hold {old!r}")
            code = code.replace(old, new)
        else:
            fields[word] = value
    return Block(page, line, language, code, **fields)


def modules(command: str) -> list[str]:
    """Returns the modules that a command runs by `python -m`, in order."""
    return MODULE.findall(command)


def inline_commands(page: Path) -> list[str]:
    """Returns the commands that stand in a page's text between backticks."""
    return re.findall(r"`(python -m (?:biggan_jax|benchmarks|launch)\b[^`]*)`", page.read_text())
