"""Classes by number or by name: finds the label that a person means."""

import difflib
from collections.abc import Sequence

import numpy as np

from biggan_jax.runtime.errors import UserError

Class = int | str


def label_of(requested: Class, class_names: Sequence[str], num_classes: int) -> int:
    """Returns the label of a class.

    Upper and lower case are equal. ImageNet's names are lists of synonyms ("tench, Tinca tinca"); one of
    them is enough.

    Args:
      requested: Number or name.
      class_names: One name for each label, or none if they are unknown.
      num_classes: Number of classes.

    Raises:
      UserError: If no class or more than one matches; the message lists similar names.
    """
    if isinstance(requested, int | np.integer) and not isinstance(requested, bool):
        if not 0 <= requested < num_classes:
            raise UserError(f"class {requested}: the classes are 0 to {num_classes - 1}")
        return int(requested)
    if not isinstance(requested, str):
        raise UserError(f"class {requested!r}: give a number or a name")
    if not class_names:
        raise UserError(f"class {requested!r}: the names of these classes are unknown; give numbers")
    wanted = requested.strip().casefold()
    names = [name.casefold() for name in class_names]
    labels = [label for label, name in enumerate(names) if name == wanted]
    labels = labels or [
        label for label, name in enumerate(names) if wanted in map(str.strip, name.split(","))
    ]
    if not labels:
        near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
        near += [name for name in names if wanted in name and name not in near][:3]
        hint = "did you mean" if near else "some classes are" if len(names) > 10 else "the classes are"
        listed = ", ".join(repr(class_names[names.index(name)]) for name in near or names[:10])
        raise UserError(f"class {requested!r} is unknown; {hint} {listed}")
    if len(labels) > 1:
        raise UserError(f"class {requested!r} is the name of {', '.join(map(str, labels))}: give the number")
    return labels[0]
