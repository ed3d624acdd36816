"""Lists the fields of a config: for `describe --fields`, as JSON, and as a page of the documentation."""

from typing import Any, NamedTuple

from biggan_jax.config.fields import FIELDS, SECTIONS

TYPES = {bool: "bool", int: "int", float: "float", str: "str", tuple: "tuple of int"}


class Row(NamedTuple):
    """One field, as a person reads it.

    Attributes:
      field: Dotted name, such as "model.channels".
      section: Section, such as "model"; "" for a field of no section.
      type: Name of the type.
      default: Default.
      allowed: Description of the allowed values; "" if every value of the type is allowed.
      meaning: Meaning.
    """

    field: str
    section: str
    type: str
    default: Any
    allowed: str
    meaning: str


def rows() -> list[Row]:
    """Returns all fields, section by section; imports the tables that some fields name entries of."""
    listed = [
        Row(
            field=name,
            section=name.rpartition(".")[0],
            type=TYPES[type(field.default)],
            default=field.default,
            allowed=str(field.allowed),
            meaning=field.meaning,
        )
        for name, field in FIELDS.items()
    ]
    sections = list(SECTIONS)
    return sorted(listed, key=lambda row: sections.index(row.section))


def fields_markdown() -> str:
    """Returns all fields as Markdown: a heading and a table for each section."""
    lines: list[str] = []
    for section, title in SECTIONS.items():
        lines += [f"## {title}{f': `config.{section}`' if section else ''}", ""]
        lines += ["| field | default | values | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{row.field}` | `{_cell(repr(row.default))}` | {_cell(row.allowed or _any(row.type))} "
            f"| {_cell(row.meaning)} |"
            for row in rows()
            if row.section == section
        ]
        lines.append("")
    return "\n".join(lines)


def _any(type_name: str) -> str:
    return {"bool": "True or False"}.get(type_name, f"any {type_name}")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
