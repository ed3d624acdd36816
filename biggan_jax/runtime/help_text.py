"""Writes the answer to `--help`: the command's docstring, then one entry for each of its flags.

Flags come in the order in which the command defines them. The flags of a group of their own, such as those
that only several processes need, follow under a heading.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from absl import flags

WIDTH = 108
REQUIRED = re.compile("must have a value other than None")  # absl's validator of required flags
DEFAULT = re.compile(r"(.*) \((default: [^()]*)\)", re.DOTALL)


def help_text(
    docstring: str, command_flags: Sequence[flags.Flag], groups: Mapping[str, Sequence[str]] | None = None
) -> str:
    """Returns the help of a command.

    Args:
      docstring: Docstring of the command's module, with its examples.
      command_flags: Flags of the command.
      groups: Names of flags under the heading that they are listed under, after all others.
    """
    groups = groups or {}
    grouped = {name for names in groups.values() for name in names}
    lines = [docstring.strip("\n"), "", "Flags:"]
    lines += _entries([flag for flag in command_flags if flag.name not in grouped])
    for heading, names in groups.items():
        if members := [flag for flag in command_flags if flag.name in names]:
            lines += ["", f"{heading}:", *_entries(members)]
    return "\n".join(lines) + "\n"


def is_required(flag: flags.Flag) -> bool:
    """Returns whether the command refuses to start without the flag."""
    by_absl = any(REQUIRED.search(validator.message) for validator in flag.validators)
    return by_absl or bool(getattr(flag.parser, "required", False))  # as the parser of --config has it


def _entries(command_flags: Sequence[flags.Flag]) -> Iterator[str]:
    """Yields the lines of each flag, required flags first."""
    for flag in sorted(command_flags, key=lambda flag: not is_required(flag)):
        name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
        meaning, default = _split_default(flag.help or "")
        notes = "; ".join(note for note in _notes(flag, default) if note)
        text = f"{name}: {meaning[:1].upper()}{meaning[1:]}{f' ({notes})' if notes else ''}"
        yield textwrap.fill(
            text,
            WIDTH,
            initial_indent="  ",
            subsequent_indent="      ",
            break_long_words=False,
            break_on_hyphens=False,
        )


def _split_default(text: str) -> tuple[str, str | None]:
    """Splits a help text that ends in a description of the default, such as `(default: the newest)`."""
    match = DEFAULT.fullmatch(text)
    return (match[1], match[2]) if match else (text, None)


def _notes(flag: flags.Flag, default: str | None) -> Iterator[str]:
    """Yields the remarks in parentheses: whether the flag is required, its range, its default."""
    if is_required(flag):
        yield "required"
    yield flag.parser.syntactic_help.replace("a comma separated list", "separated by commas")
    if default or (not flag.boolean and flag.default not in (None, "", [], ())):
        yield default or f"default: {flag.default}"
