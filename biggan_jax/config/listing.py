"""Lists the fields of a config for a person: name, type, default, allowed values and meaning."""

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
