"""What the Inception Score cannot see (Barratt & Sharma 2018, arXiv 1801.01973, section 4), measured: a
section for each of five blind spots, with a number and in words.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from biggan_jax.evaluation.networks.extraction import ExtractedFeatures
from biggan_jax.evaluation.scores.diversity import Diversity, diversity
from biggan_jax.evaluation.scores.label_fit import MOST_UNKNOWN, LabelFit, label_fit
from biggan_jax.evaluation.scores.memorisation import Memorisation, memorisation
from biggan_jax.evaluation.shuffled_patches import ShuffledPatches

PAIRS = 10  # of samples and training images that the sheet shows, at most

Section = dict[str, Any]

TITLES = {
    1: "Classes that the network never learnt",
    2: "A label set that is not the network's",
    3: "What the features do not see",
    4: "One picture per class",
    5: "Training images by heart",
}
BLINDNESS = {
    1: "However good their images are, IS is low for them.",
    2: "IS is low for a set of few classes, and at best as many as the network has.",
    3: "Two heads or a wrong whole go unpunished where each part looks right.",
    4: "One perfect image of each class, repeated, has the highest IS there is.",
    5: "Copies of training images have the IS of real ones.",
}


class Findings(NamedTuple):
    """What was measured, or None where it could not be."""

    labels: LabelFit | None
    variety: Diversity | None
    memory: Memorisation | None


def examine(
    training: ExtractedFeatures, held_out: ExtractedFeatures | None, samples: ExtractedFeatures, classes: int
) -> Findings:
    """Measures what features and logits tell; shape is `wholes.shapes`'s.

    Args:
      training: real images that the generator learns from.
      held_out: real images that it does not, or None; if the network learns from the training images, there
        are some.
      samples: the generator's.
      classes: of the reference.
    """
    real = held_out or training
    labels = variety = memory = None
    if samples.logits is not None:
        labels = label_fit(real.logits, real.labels, samples.logits)
    if samples.labels is not None:
        variety = diversity(real.features, real.labels, samples.features, samples.labels, classes)
    if held_out is not None:
        memory = memorisation(training.features, samples.features, held_out.features)
    return Findings(labels, variety, memory)


def sections(
    findings: Findings,
    shapes: ShuffledPatches | None,
    network: str,
    class_names: Sequence[str],
    present: int,
    searched: str,
    why_not: dict[int, str],
) -> list[Section]:
    """The five sections, for evaluation.json and the terminal.

    Args:
      findings: of `examine`.
      shuffled: of `wholes.shapes`, or None.
      network: its name.
      class_names: of the reference.
      present: how many of these classes its real images have.
      searched: the images that section 5 searched for originals, in words.
      why_not: of a section that was not measured, the reason.
    """
    measured: dict[int, Section] = {}
    if findings.labels:
        measured[1] = _unknown(findings.labels, network, class_names, present)
        measured[2] = _plain(findings.labels)
    if shapes:
        flagged = shapes.by_network.flagged or shapes.by_thumbnails.flagged or shapes.second.flagged
        measured[3] = {
            "flagged": flagged,
            "sentence": f"{shapes.by_network.sentence} {shapes.second.sentence}",
            "by_network": dataclasses.asdict(shapes.by_network),
            "by_thumbnails": dataclasses.asdict(shapes.by_thumbnails),
            "second_network": dataclasses.asdict(shapes.second),
        }
        if shapes.by_thumbnails.flagged:
            measured[3]["sentence"] += f" {shapes.by_thumbnails.sentence}"
    if findings.variety:
        measured[4] = _variety(findings.variety, class_names)
    if findings.memory:
        measured[5] = _memory(findings.memory, searched)
    return [
        {"blind_spot": number, "title": title, "blindness": BLINDNESS[number], "measured": number in measured}
        | measured.get(number, {"flagged": False, "sentence": f"Not measured: {why_not.get(number)}."})
        for number, title in TITLES.items()
    ]


def suspicious_pairs(memory: Memorisation) -> list[tuple[int, int, float]]:
    """Samples and the training images they are nearest to, with their relative distance: the suspicious ones,
    or if there are none the nearest, the most suspicious first.
    """
    suspicious = round(memory.suspicious * len(memory.samples))
    shown = min(PAIRS, suspicious or PAIRS)
    columns = (memory.samples, memory.training, memory.relative)
    return list(zip(*(column[:shown].tolist() for column in columns), strict=True))


def _unknown(fit: LabelFit, network: str, class_names: Sequence[str], present: int) -> Section:
    unknown = [class_names[label] for label in fit.unknown_classes]
    known = present - len(unknown)
    sentence = (
        f"The network {network} tells {known} of the {present} classes of the real images from the others "
        f"({100 * fit.agreement:.0f} % of them agree with their neighbours in its classes)"
    )
    if unknown:
        more = len(unknown) - PAIRS
        sentence += f"; not {', '.join(unknown[:PAIRS])}" + (f" and {more} more" if more > 0 else "")
    return {
        "flagged": len(unknown) > MOST_UNKNOWN * present,
        "sentence": f"{sentence}.",
        "agreement": fit.agreement,
        "mutual_information": fit.mutual_information,
        "known_classes": known,
        "unknown_classes": unknown,
    }


def _variety(variety: Diversity, class_names: Sequence[str]) -> Section:
    least = [
        {
            "name": class_names[label],
            "ratio": variety.ratio[label],
            "vendi": variety.vendi[label],
            "real_vendi": variety.real_vendi[label],
        }
        for label in variety.least
    ]
    section = {"flagged": variety.flagged, "sentence": variety.sentence, "mean_ratio": variety.mean_ratio}
    section["mean_vendi"] = _mean(variety.vendi)
    section["mean_real_vendi"] = _mean(variety.real_vendi)
    section["poor_classes"] = [class_names[label] for label in variety.poor_classes]
    section["least_diverse"] = least
    if least:
        named = ", ".join(f"{row['name']} ({row['ratio']:.2f})" for row in least[:3])
        section["sentence"] += f" The least varied: {named}."
        section["sentence"] += (
            f" By Vendi score, as many samples of a class as there are real images count as "
            f"{section['mean_vendi']:.1f} different ones, real images as {section['mean_real_vendi']:.1f}."
        )
    return section


def _memory(memory: Memorisation, searched: str) -> Section:
    return {
        "flagged": memory.flagged,
        "sentence": f"{memory.sentence} A sample is nearer to {searched} than a held-out image in "
        f"{100 * memory.closer:.0f} % of pairs (honest ones: 50 %).",
        "suspicious": memory.suspicious,
        "expected": memory.expected,
        "closer": memory.closer,
        "z": memory.z,
    }


def _plain(found: Any) -> Section:
    return {name: value for name, value in dataclasses.asdict(found).items() if name != "unknown_classes"}


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
