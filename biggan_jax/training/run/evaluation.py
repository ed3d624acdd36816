"""What the loop needs of an evaluation, which stands above training (evaluation/during_training.py)."""

from collections.abc import Callable
from typing import Any, Protocol

from etils import epath
from ml_collections import ConfigDict
from rich.console import Console

from biggan_jax.data import Source


class Evaluation(Protocol):
    """An evaluation of the averaged generator during training."""

    def scores(self, params: Any, u: dict[str, Any]) -> dict[str, float]:
        """Returns scores by name; every process calls it at the same steps.

        Args:
          params: Parameters of the averaged generator.
          u: Vectors of spectral norm.
        """
        ...


# The caller of `train` provides it.
OpenEvaluation = Callable[[ConfigDict, Source, epath.Path | None, Console], Evaluation]
