"""The report of an evaluation as typed objects, and their form in evaluation.json."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from biggan_jax.evaluation.networks.feature_network import NetworkIdentity
from biggan_jax.evaluation.scores.inputs import Score, strict_json
from biggan_jax.sampling.truncation import TruncationKind


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleOrigin:
    """The origin of the samples, which every score carries.

    Attributes:
      num_samples: Number of samples.
      resolution: Pixels a side.
      statistics: Batch norm statistics of the generator; None for samples from a file.
      truncation: Truncation of the latents; None for samples from a file.
      seed: Seed of the latents; None for samples from a file.
      truncation_kind: Meaning of the truncation; None for a run (threshold) and for samples from a file.
      step: Step of the checkpoint; None without a run.
      weights: Weights of the generator; None for samples from a file.
      file: Path of the export or of the samples; None for a run.
    """

    num_samples: int
    resolution: int
    statistics: dict[str, Any] | None = None
    truncation: float | None = None
    seed: int | None = None
    truncation_kind: TruncationKind | None = None
    step: int | None = None
    weights: Any = None
    file: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the keys that every score carries; unknown fields are left out."""
        always = ("num_samples", "resolution", "statistics", "truncation")
        fields = dataclasses.asdict(self).items()
        return {name: value for name, value in fields if name in always or value is not None}

    @classmethod
    def from_json(cls, report: Mapping[str, Any]) -> "SampleOrigin":
        """Reads the origin from a report or a score."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in report.items() if name in names})


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReferenceSummary:
    """The real images, or statistics of real images, that the samples are compared with.

    Attributes:
      source: Name of the data source, or path of the file of statistics.
      images: Number of training images; None if a file of statistics does not state it.
      training: Description of the training images; None for a file of statistics.
      held_out: Description of the held-out images, or None.
      held_out_images: Number of held-out images.
    """

    source: str
    images: int | None
    training: str | None = None
    held_out: str | None = None
    held_out_images: int = 0

    def to_json(self) -> dict[str, Any]:
        """Returns the value of `reference` in evaluation.json."""
        if self.training is None:
            return {"source": self.source, "images": self.images}
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class BlindSpot:
    """The section of the report on one blind spot of the Inception Score.

    Attributes:
      number: Number of the section, from 1.
      title: Title.
      blindness: Behaviour of the Inception Score.
      measured: Whether the blind spot was measured.
      flagged: Whether the measure is suspicious.
      sentence: Result in words, or the reason why it was not measured.
      details: Further numbers by name.
    """

    number: int
    title: str
    blindness: str
    measured: bool
    flagged: bool
    sentence: str
    details: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def least_diverse(self) -> list["ClassDiversity"]:
        """The least diverse classes, in the section on diversity."""
        return [ClassDiversity(**row) for row in self.details.get("least_diverse", [])]

    def to_json(self) -> dict[str, Any]:
        """Returns an element of `beyond_is` in evaluation.json."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {"blind_spot": fields.pop("number")} | fields.pop("details") | fields

    @classmethod
    def from_json(cls, section: Mapping[str, Any]) -> "BlindSpot":
        """Reads an element of `beyond_is`."""
        names = [field.name for field in dataclasses.fields(cls) if field.name not in ("number", "details")]
        details = {name: value for name, value in section.items() if name not in (*names, "blind_spot")}
        return cls(section["blind_spot"], *(section[name] for name in names), details=details)


class ClassDiversity(NamedTuple):
    """The diversity of one class.

    Attributes:
      name: Name of the class.
      ratio: Diversity relative to real images.
      vendi: Vendi score of the samples.
      real_vendi: Vendi score of as many real images.
    """

    name: str
    ratio: float | None
    vendi: float | None
    real_vendi: float | None


class NearestPair(NamedTuple):
    """A sample and the training image nearest to it.

    Attributes:
      sample: Index of the sample.
      training_image: Index of the training image.
      relative_distance: Distance of their features, relative to the neighbours of the training image.
    """

    sample: int
    training_image: int
    relative_distance: float


@dataclasses.dataclass(frozen=True)
class ClassRow:
    """The scores of one class.

    Attributes:
      label: Label.
      name: Name of the class.
      num_samples: Number of samples.
      values: Numbers by key, such as `fid@classifier`; `test_accuracy` is the share of held-out images of the
        class that the classifier recognises. None where a number is not finite.
    """

    label: int
    name: str
    num_samples: int
    values: dict[str, float | None] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns an element of `classes` in evaluation.json."""
        return {"label": self.label, "name": self.name, "num_samples": self.num_samples} | self.values

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "ClassRow":
        """Reads an element of `classes`."""
        values = {name: value for name, value in row.items() if name not in ("label", "name", "num_samples")}
        return cls(row["label"], row["name"], row["num_samples"], values)


@dataclasses.dataclass(frozen=True)
class TruncationPoint:
    """The scores at one truncation.

    Attributes:
      truncation: Truncation of the latents.
      truncation_kind: Meaning of the truncation.
      num_samples: Number of samples.
      scores: Scores by full name.
    """

    truncation: float
    truncation_kind: TruncationKind
    num_samples: int
    scores: dict[str, Score]

    def to_json(self) -> dict[str, Any]:
        """Returns an element of `truncations` in evaluation.json, without the origin of the samples."""
        about = {"truncation": self.truncation, "truncation_kind": self.truncation_kind}
        scores = {name: {"value": score.value} | score.details for name, score in self.scores.items()}
        return about | {"num_samples": self.num_samples} | scores

    @classmethod
    def from_json(cls, point: Mapping[str, Any]) -> "TruncationPoint":
        """Reads an element of `truncations`."""
        scores = {name: score_from_json(score, ()) for name, score in point.items() if "@" in name}
        return cls(point["truncation"], point["truncation_kind"], point.get("num_samples", 0), scores)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierSummary:
    """The classifier that served as feature network.

    Attributes:
      hash: Hash of its weights.
      test_accuracy: Share of held-out images that it recognises.
      test_images: Number of held-out images.
      resolution: Pixels a side.
      test_loss: Its mean cross-entropy for them in nats; None in a report of an earlier version.
      majority_share: Share of the most frequent class among them; None likewise.
      guess_loss: Loss of a guess by the frequencies of the classes; None likewise.
    """

    hash: str
    test_accuracy: float
    test_images: int
    resolution: int | None = None
    test_loss: float | None = None
    majority_share: float | None = None
    guess_loss: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """The report of an evaluation: the contents of evaluation.json.

    Attributes:
      samples: Origin of the samples.
      network: Feature network.
      reference: Real images that the samples are compared with.
      scores: Scores by full name, such as `fid@inception`.
      notes: Warnings to the reader.
      blind_spots: A section per blind spot of the Inception Score.
      nearest: Samples beside the nearest training images.
      classes: A row per class; empty if the samples have no labels of these classes.
      confusion: Counts by requested and predicted class, or None.
      truncations: Scores at other truncations.
      classifier: The classifier, if it served as feature network.
    """

    samples: SampleOrigin
    network: NetworkIdentity
    reference: ReferenceSummary
    scores: dict[str, Score]
    notes: list[str]
    blind_spots: list[BlindSpot]
    nearest: list[NearestPair] = dataclasses.field(default_factory=list)
    classes: list[ClassRow] = dataclasses.field(default_factory=list)
    confusion: list[list[int]] | None = None
    truncations: list[TruncationPoint] = dataclasses.field(default_factory=list)
    classifier: ClassifierSummary | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the contents of evaluation.json, which every score carries the origin of."""
        origin = self.samples.to_json() | {"network": self.network.to_json()}
        report = origin | {
            "reference": self.reference.to_json(),
            "scores": {name: origin | score_to_json(score) for name, score in self.scores.items()},
            "notes": self.notes,
            "beyond_is": [section.to_json() for section in self.blind_spots],
            "nearest": [pair._asdict() for pair in self.nearest],
            "classes": [row.to_json() for row in self.classes],
            "confusion": self.confusion,
            "truncations": [origin | point.to_json() for point in self.truncations],
        }
        if self.classifier:
            report["classifier"] = dataclasses.asdict(self.classifier)
        return strict_json(report)

    @classmethod
    def from_json(cls, report: Mapping[str, Any]) -> "Report":
        """Reads the contents of evaluation.json."""
        samples, network = SampleOrigin.from_json(report), NetworkIdentity(**report["network"])
        origin = [*samples.to_json(), "network"]
        return cls(
            samples=samples,
            network=network,
            reference=ReferenceSummary(**report["reference"]),
            scores={name: score_from_json(score, origin) for name, score in report["scores"].items()},
            notes=list(report["notes"]),
            blind_spots=[BlindSpot.from_json(section) for section in report["beyond_is"]],
            nearest=[NearestPair(**pair) for pair in report.get("nearest", [])],
            classes=[ClassRow.from_json(row) for row in report["classes"]],
            confusion=report.get("confusion"),
            truncations=[TruncationPoint.from_json(point) for point in report["truncations"]],
            classifier=ClassifierSummary(**report["classifier"]) if "classifier" in report else None,
        )


def score_to_json(score: Score) -> dict[str, Any]:
    """Returns a score as in evaluation.json, without the origin of the samples."""
    held_out = score.held_out and {"value": score.held_out.value} | score.held_out.details
    return {"value": score.value} | score.details | {"held_out": held_out}


def score_from_json(score: Mapping[str, Any], origin: Iterable[str]) -> Score:
    """Reads a score.

    Args:
      score: The score as in evaluation.json.
      origin: Keys that state the origin of the samples.
    """
    other = {"value", "held_out", *origin}
    details = {name: value for name, value in score.items() if name not in other}
    held_out = score.get("held_out")
    return Score(score["value"], details, held_out and score_from_json(held_out, ()))
