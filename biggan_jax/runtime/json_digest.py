"""The digest of JSON values, the same before they are written and after they are read."""

import hashlib
import json
from typing import Any


def json_digest(values: Any) -> str:
    """Returns SHA-256 of `values` as JSON with sorted keys, in hexadecimal."""
    plain = json.loads(json.dumps(values))  # as they come back: tuples are lists, and keys are text
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
