"""The sections of the report on five blind spots of the Inception Score, each with numbers and a sentence.

Barratt & Sharma 2018, arXiv 1801.01973, section 4.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from biggan_jax.evaluation.report.schema import BlindSpot
from biggan_jax.evaluation.scores.diversity import Diversity
from biggan_jax.evaluation.scores.findings import Findings
from biggan_jax.evaluation.scores.label_fit import MOST_UNKNOWN, LabelFit
from biggan_jax.evaluation.scores.memorisation import Memorisation
from biggan_jax.evaluation.shuffled_patches import ShuffledPatches

PAIRS = 10  # of samples and training images in the sheet, at most

UNKNOWN_CLASSES, OTHER_LABELS, SHAPE, DIVERSITY, MEMORISATION = range(1, 6)
TITLES = {
    UNKNOWN_CLASSES: "Classes that the network has not learnt",
    OTHER_LABELS: "Classes that differ from those of the network",
    SHAPE: "Global shape",
    DIVERSITY: "Diversity within a class",
    MEMORISATION: "Memorised training images",
}
BLINDNESS = {
    UNKNOWN_CLASSES: "IS is low for images of these classes, however good they are.",
    OTHER_LABELS: "IS is low for a data set of few classes, and cannot exceed the number of classes.",
    SHAPE: "IS does not punish two heads or a wrong global shape if each part looks right.",
    DIVERSITY: "One perfect image of each class, repeated, has the highest possible IS.",
    MEMORISATION: "Copies of training images have the IS of real images.",
}


def sections(
    findings: Findings,
    shuffled: ShuffledPatches | None,
    network: str,
    class_names: Sequence[str],
    present: int,
    searched: str,
    compared: str,
    reasons: dict[int, str],
) -> list[BlindSpot]:
    """Returns the five sections.

    Args:
      findings: Measures of blind spots 1, 2, 4 and 5.
      shuffled: Measure of blind spot 3, or None.
      network: Name of the feature network.
      class_names: Names of the classes of the reference.
      present: Number of classes that its real images have.
      searched: The images that samples were compared with for section 5, in words.
      compared: The sets that FID compares in section 3 and in the table of scores, in words.
      reasons: For each section, the reason why it was not measured.
    """
    measured: dict[int, BlindSpot] = {}
    if findings.label_fit:
        measured[UNKNOWN_CLASSES] = _unknown_classes(findings.label_fit, network, class_names, present)
        measured[OTHER_LABELS] = _other_labels(findings.label_fit)
    if shuffled:
        measured[SHAPE] = _shape(shuffled, compared)
    if findings.diversity:
        measured[DIVERSITY] = _diversity(findings.diversity, class_names)
    if findings.memorisation:
        measured[MEMORISATION] = _memorisation(findings.memorisation, searched)
    return [measured.get(number) or _not_measured(number, reasons.get(number, "")) for number in TITLES]


def suspicious_pairs(memory: Memorisation) -> list[tuple[int, int, float]]:
    """Returns pairs of a sample and its nearest training image with their relative distance, nearest first.

    These are the suspicious pairs, or the nearest pairs if none is suspicious.
    """
    suspicious = round(memory.suspicious * len(memory.samples))
    shown = min(PAIRS, suspicious or PAIRS)
    columns = (memory.samples, memory.training, memory.relative)
    return list(zip(*(column[:shown].tolist() for column in columns), strict=True))


def _section(number: int, flagged: bool, sentence: str, details: dict[str, Any]) -> BlindSpot:
    return BlindSpot(number, TITLES[number], BLINDNESS[number], True, flagged, sentence, details)


def _not_measured(number: int, reason: str) -> BlindSpot:
    return BlindSpot(number, TITLES[number], BLINDNESS[number], False, False, f"Not measured: {reason}.")


def _unknown_classes(fit: LabelFit, network: str, class_names: Sequence[str], present: int) -> BlindSpot:
    unknown = [class_names[label] for label in fit.unknown_classes]
    known = present - len(unknown)
    sentence = (
        f"The network {network} separates {known} of the {present} classes of the real images from the "
        f"others ({100 * fit.agreement:.0f} % of the images agree with their neighbours in its classes)"
    )
    if unknown:
        more = len(unknown) - PAIRS
        sentence += f", but not {', '.join(unknown[:PAIRS])}" + (f" and {more} more" if more > 0 else "")
    details = {
        "agreement": fit.agreement,
        "mutual_information": fit.mutual_information,
        "known_classes": known,
        "unknown_classes": unknown,
    }
    return _section(UNKNOWN_CLASSES, len(unknown) > MOST_UNKNOWN * present, f"{sentence}.", details)


def _other_labels(fit: LabelFit) -> BlindSpot:
    details = dataclasses.asdict(fit)
    for name in ("unknown_classes", "flagged", "sentence"):
        del details[name]
    return _section(OTHER_LABELS, fit.flagged, fit.sentence, details)


def _shape(shuffled: ShuffledPatches, compared: str) -> BlindSpot:
    sentence = f"{shuffled.by_network.sentence} {shuffled.agreement.sentence}"
    if shuffled.by_thumbnails.flagged:
        sentence += f" {shuffled.by_thumbnails.sentence}"
    sentence += f" {compared}"
    parts = (shuffled.by_network, shuffled.by_thumbnails, shuffled.agreement)
    details = {
        "by_network": dataclasses.asdict(shuffled.by_network),
        "by_thumbnails": dataclasses.asdict(shuffled.by_thumbnails),
        "second_network": dataclasses.asdict(shuffled.agreement),
    }
    return _section(SHAPE, any(part.flagged for part in parts), sentence, details)


def _diversity(result: Diversity, class_names: Sequence[str]) -> BlindSpot:
    least = [
        {
            "name": class_names[label],
            "ratio": result.ratio[label],
            "vendi": result.vendi[label],
            "real_vendi": result.real_vendi[label],
        }
        for label in result.least
    ]
    vendi, real_vendi = _mean(result.vendi), _mean(result.real_vendi)
    sentence = result.sentence
    if least:
        named = ", ".join(f"{row['name']} ({row['ratio']:.2f})" for row in least[:3])
        sentence += (
            f" The least diverse classes are {named}. By Vendi score, the samples of a class count as "
            f"{vendi:.1f} different images, and as many real images count as {real_vendi:.1f}."
        )
    details = {
        "mean_ratio": result.mean_ratio,
        "mean_vendi": vendi,
        "mean_real_vendi": real_vendi,
        "poor_classes": [class_names[label] for label in result.poor_classes],
        "least_diverse": least,
    }
    return _section(DIVERSITY, result.flagged, sentence, details)


def _memorisation(result: Memorisation, searched: str) -> BlindSpot:
    sentence = (
        f"{result.sentence} A sample is nearer to {searched} than a held-out image in "
        f"{100 * result.closer:.0f} % of pairs (50 % for honest samples)."
    )
    details = {
        "suspicious": result.suspicious,
        "expected": result.expected,
        "closer": result.closer,
        "z": result.z,
    }
    return _section(MEMORISATION, result.flagged, sentence, details)


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
