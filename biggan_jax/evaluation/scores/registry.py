"""The registry of scores: a line per score with its name, direction, format, remark and function.

To add a score, write a function in `measures.py` that takes `ScoreInputs` and returns a `Score`, or None
where its inputs are missing, and add a line to the table below. The command line, evaluation.json, the report
and the tables of sweeps follow the table.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from biggan_jax.evaluation.scores import measures
from biggan_jax.evaluation.scores.formats import Format, decimals, is_missing, percent, ratio
from biggan_jax.evaluation.scores.inputs import Score, ScoreInputs

Compute = Callable[[ScoreInputs], Score | None]
ComputeByClass = Callable[[ScoreInputs], np.ndarray | None]
Remark = str | Callable[[Score], str]

NOT_MEANINGFUL = "not meaningful"
LOW = 0.5  # of the value of held-out images: recall and coverage below it are flagged


def _not_computed(inputs: ScoreInputs) -> None:
    del inputs


@dataclasses.dataclass(frozen=True)
class Metric:
    """A score: its name, its meaning for a reader, and its function.

    Attributes:
      name: Name without the network, such as `fid`.
      higher_is_better: Direction; None if neither direction is better without limit.
      format: Format of its value.
      remark: Remark beside the value: a text, or a function of the score.
      compute: Function from the inputs to the score.
      title: Name in prose and on axes; by default `name`.
      plus_minus: Name and format of the detail that is printed after ±.
      network: Name of the network if it is always the same, whichever network the other scores use.
      by_class: Function from the inputs to a number per class, or None.
      class_title: Title of the column with these numbers.
      low: What a value far below that of held-out images means, in words; such a score is flagged.
    """

    name: str
    higher_is_better: bool | None = None
    format: Format = ratio
    remark: Remark = ""
    compute: Compute = _not_computed
    title: str = ""
    plus_minus: tuple[str, Format] | None = None
    network: str | None = None
    by_class: ComputeByClass | None = None
    class_title: str = ""
    low: str = ""

    def full_name(self, network: str) -> str:
        """Returns the name with the network, `fid@inception`: scores of two networks do not compare."""
        return f"{self.name}@{self.network or network}"

    def best(self, values: Sequence[float]) -> float | None:
        """Returns the best value; None if neither direction is better."""
        if not values or self.higher_is_better is None:
            return None
        return max(values) if self.higher_is_better else min(values)

    def shown(self, score: Score) -> str:
        """Formats the value of a score, with ± where the metric has one: `5.31 ± 0.07`."""
        if score.is_refused:
            return NOT_MEANINGFUL
        text = self.format(score.value)
        if self.plus_minus:
            detail, form = self.plus_minus
            text += f" ± {form(score.details[detail])}"
        return text

    def remark_on(self, score: Score) -> str:
        """Returns the remark on a score; none on a refused one, whose reason is a note of the report."""
        if score.is_refused:
            return ""
        return self.remark if isinstance(self.remark, str) else self.remark(score)

    def with_flag(self, score: Score) -> Score:
        """Returns the score with the details `flagged` and, if that is true, `sentence`; see `low`."""
        real = score.held_out and score.held_out.value
        if not self.low or not real or score.value is None:
            return score
        details: dict[str, Any] = {"flagged": score.value < LOW * real}
        if details["flagged"]:
            values = f"{self.format(score.value)}, and held-out images have {self.format(real)}"
            details["sentence"] = f"The {self.name} of the samples is {values}: {self.low}."
        return dataclasses.replace(score, details=score.details | details)

    @property
    def direction(self) -> str:
        """The direction in words, for an axis."""
        words = {True: "higher is better", False: "lower is better", None: ""}
        return words[self.higher_is_better]


def _remark_on_inception(score: Score) -> str:
    if "meaningful" not in score.details:
        return ""
    if not score.details["meaningful"]:
        return "not meaningful here: see 2"
    return f"{percent(score.details['share_of_real'], 0)} of the IS of as many real images"


def _remark_on_fid(score: Score) -> str:
    if is_missing(score.details.get("expected_bias")):
        return ""
    remark = f"bias about {ratio(score.details['expected_bias'])}"
    if not is_missing(score.details.get("extrapolated")):
        remark += f", FID∞ {ratio(score.details['extrapolated'])}"
    return remark


def _remark_on_flag(score: Score) -> str:
    return f"below {percent(LOW, 0)} of held-out images" if score.details.get("flagged") else ""


# fmt: off
_TABLE = (
    Metric("is", True, ratio, _remark_on_inception, measures.inception, title="IS",
           plus_minus=("std", decimals(2))),
    Metric("fid", False, ratio, _remark_on_fid, measures.fid, title="FID",
           by_class=measures.fid_by_class, class_title="FID of the class"),
    Metric("kid", False, decimals(5), "± standard error", measures.kid, title="KID",
           plus_minus=("standard_error", decimals(5))),
    Metric("precision", True, percent, "", measures.precision),
    Metric("recall", True, percent, _remark_on_flag, measures.recall,
           low="the samples leave much of the data out"),
    Metric("density", None, ratio, "perfect samples: 1", measures.density),
    Metric("coverage", True, percent, _remark_on_flag, measures.coverage,
           low="most real images have no sample nearby"),
    Metric("recognised", True, percent, "as the requested class", measures.recognised,
           by_class=measures.recognised_by_class, class_title="recognised"),
    Metric("diversity", None, ratio, "real images: 1", measures.diversity,
           by_class=measures.diversity_by_class, class_title="diversity (real = 1)"),
    Metric("cas", True, percent, "of real images, by a classifier trained on samples",
           measures.classification_accuracy, title="CAS", network="classifier"),
)
# fmt: on

METRICS = {metric.name: metric for metric in _TABLE}


def metric_of(score: str) -> Metric:
    """Returns the metric of a score's name with or without its network, `fid@inception` or `fid`.

    A score that the table lacks, such as one of a later version, gets a metric without direction.
    """
    name = score.partition("@")[0]
    return METRICS.get(name) or Metric(name)
