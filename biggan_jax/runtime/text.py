"""Names of files and classes as text that can be shown and listed."""

import unicodedata

# Control characters such as line breaks, halves of surrogate pairs, which stand for bytes that are no text,
# and separators of lines and paragraphs.
_NOT_SHOWN = {"Cc", "Cs", "Zl", "Zp"}


def one_line(text: str) -> str:
    """Returns the text on one line: U+FFFD stands for each character that cannot be shown on it."""
    return "".join("\ufffd" if unicodedata.category(letter) in _NOT_SHOWN else letter for letter in text)
