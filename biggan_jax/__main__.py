"""Lists the commands of the package, and runs one.

python -m biggan_jax                                   list the commands
python -m biggan_jax train --config=fashion_mnist …    the same as python -m biggan_jax.train …
"""

import ast
import difflib
import runpy
import sys
from pathlib import Path

from biggan_jax.runtime.broken_pipe import silent_without_reader
from biggan_jax.runtime.errors import EXIT_ERROR


def commands() -> dict[str, str]:
    """Returns the first line of each command's docstring by the command's name; imports none of them."""
    files = (file for file in Path(__file__).parent.glob("*.py") if not file.stem.startswith("_"))
    docstrings = {file.stem: ast.get_docstring(ast.parse(file.read_text("utf-8"))) for file in sorted(files)}
    return {name: (docstring or "").partition("\n")[0] for name, docstring in docstrings.items()}


def main(words: list[str]) -> int:
    """Lists the commands, or runs the one that `words` begin with; returns the exit code."""
    known = commands()
    if not words or words[0] in ("--help", "-h", "help"):
        print("Commands, each with --help:\n")
        for name, line in known.items():
            print(f"  python -m biggan_jax.{name:<16}{line}")
        return 0
    name = words[0]
    if name not in known:
        similar = difflib.get_close_matches(name, known, n=1)
        meant = f"; did you mean {similar[0]}?" if similar else f". The commands are {', '.join(known)}"
        print(f"error: {name!r} is not a command{meant}", file=sys.stderr)
        return EXIT_ERROR
    sys.argv = [f"{__package__}.{name}", *words[1:]]
    runpy.run_module(f"{__package__}.{name}", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    with silent_without_reader():
        code = main(sys.argv[1:])
    sys.exit(code)
