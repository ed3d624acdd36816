"""JSON values of files that may be damaged."""

import json
from typing import Any


def parse_json(content: str | bytes) -> Any:
    """Returns the values of a JSON text.

    Raises:
      ValueError: The text is damaged, or nested so deeply that reading it fails.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
