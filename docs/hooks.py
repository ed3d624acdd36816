"""Pages that MkDocs makes from the code: the fields of a config, and a page of API reference for each room.

Rooms are listed here as they are in the import contract; their modules are those that the package has.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "biggan_jax"
ROOMS = {
    "config": "Every field of a config, and the checks before a run.",
    "models": "The networks: pure functions of parameters and inputs.",
    "data": "Where pictures come from and how they become batches.",
    "sampling": "Latents to pictures.",
    "exports": "The files of an export, its card, StableHLO, and published weights.",
    "training": "The step, the run, and what it shows.",
    "evaluation": "Scores, feature networks, and the report.",
    "planning": "What a run needs of a TPU slice.",
    "sweeps": "Many runs: their names, order and summary.",
    "runtime": "What every room stands on.",
}
FIELDS_INTRODUCTION = """# Config fields

This page is made from `biggan_jax/config/fields.py`, as is the output of `python -m biggan_jax.describe
--fields`. Set a field on the command line as `--config.FIELD=VALUE`, or in a config file as
`config.FIELD = VALUE`. The defaults are the paper's values for BigGAN at 128×128 on ImageNet."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages to those of the folder."""
    for path, content in pages().items():
        files.append(File.generated(config, path, content=content))
    return files


def pages() -> dict[str, str]:
    """Returns the Markdown of each generated page by its path in docs/."""
    written = {f"api/{room}.md": _room(room, purpose) for room, purpose in ROOMS.items()}
    written[f"api/{PACKAGE}.md"] = f"# {PACKAGE}\n\n::: {PACKAGE}\n"
    written["config_fields.md"] = _config_fields()
    return written


def _room(room: str, purpose: str) -> str:
    parts = [f"# {room}", purpose]
    parts += [f"::: {module}" for module in _modules(room)]
    return "\n\n".join(parts) + "\n"


def _modules(room: str) -> Iterator[str]:
    """Yields the modules of a room, its own first, that have something to document."""
    folder = ROOT / PACKAGE / room
    files = [folder.with_suffix(".py")] if not folder.is_dir() else sorted(folder.rglob("*.py"))
    for file in files:
        if _is_public(file):
            parts = file.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_public(file: Path) -> bool:
    """Says whether a module has a definition; a package's file with a docstring alone has none."""
    body: list[Any] = ast.parse(file.read_text()).body
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign) for node in body)


def _config_fields() -> str:
    sys.path.insert(0, str(ROOT))
    from biggan_jax.config.fields import FIELDS, SECTIONS

    parts = [FIELDS_INTRODUCTION]
    for section, title in SECTIONS.items():
        rows = [
            (f"`{name}`", f"`{field.default!r}`", str(field.allowed).replace("*", "\\*"), field.meaning)
            for name, field in FIELDS.items()
            if name.rpartition(".")[0] == section
        ]
        heading = f"`{section}`: {title[0].lower()}{title[1:]}" if section else title
        parts += [f"## {heading}", _table(("field", "default", "allowed", "meaning"), rows)]
    return "\n\n".join(parts) + "\n"


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
