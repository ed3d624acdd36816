"""The metrics of the steps since the last row: on the devices until the host needs them."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from biggan_jax.training.monitoring.collapse import Collapse, not_finite

Row = dict[str, float | None]


class StepMetrics:
    """Collects the metrics of single steps and turns them into rows.

    Args:
      unlogged: Metrics of the steps before the first that are in no row yet, as a checkpoint holds them.

    Attributes:
      unlogged: Metrics on the host of steps that are in no row yet, one dictionary each.
    """

    def __init__(self, unlogged: list[Row]):
        self.unlogged = unlogged
        self._on_devices: list[Any] = []

    def add(self, metrics: Any) -> None:
        """Adds the metrics of one call, `[steps]` each, without waiting for them."""
        self._on_devices.append(metrics)

    def fetch(self) -> None:
        """Waits for the metrics on the devices and copies them to the host."""
        self.unlogged += [row for call in jax.device_get(self._on_devices) for row in _unstack(call)]
        self._on_devices = []

    def first_not_finite(self, last: int) -> Collapse | None:
        """Returns the first unlogged step with a number that is not finite.

        Args:
          last: Step of the last metrics that were added.
        """
        for step, metrics in self._numbered(last):
            if collapse := not_finite(step, metrics):
                return collapse
        return None

    def take_rows(self, last: int, config: ConfigDict) -> list[tuple[int, list[dict[str, Any]]]]:
        """Returns step and metrics of the rows that are complete; their metrics count as logged.

        Args:
          last: Step of the last metrics that were added.
          config: The whole config.
        """
        rows, part = [], list[dict[str, Any]]()
        for step, metrics in self._numbered(last):
            part.append(metrics)
            if step % config.log_every == 0 or step == config.total_steps:
                rows.append((step, part))
                part = []
        self.unlogged = part
        return rows

    def _numbered(self, last: int) -> Iterator[tuple[int, Row]]:
        return enumerate(self.unlogged, start=last - len(self.unlogged) + 1)


def _unstack(call: Mapping[str, np.ndarray]) -> Iterator[Row]:
    """Yields a dictionary for each step of a call."""
    for values in zip(*call.values(), strict=True):
        yield {name: float(value) for name, value in zip(call, values, strict=True)}
