"""Checks real images against those that a generator has learnt from, before anything is measured.

Scores of labels need the classes in the generator's order, and memorisation needs held-out images that the
generator has never seen.
"""

import logging

import numpy as np

from biggan_jax.data import Source
from biggan_jax.data.fingerprint import FLAG, Fingerprint, moved_classes, refuse_changes, shared
from biggan_jax.evaluation.request import EvaluationRequest
from biggan_jax.evaluation.sample_sources import SampleSource
from biggan_jax.runtime.errors import UserError

MOST_SHARED = 0.1  # of the held-out images: collected sets contain some images twice
MOST_SAMPLED = 2  # of a fingerprint's sample: fewer say nothing of a share


def refuse_other_images(
    request: EvaluationRequest, source: SampleSource, training: Source, held_out: Source | None
) -> list[str]:
    """Refuses a reference that contradicts the images that the generator has learnt from.

    Args:
      request: The request; another reference or train split than the generator's own may have other images,
        but no class in another place.
      source: The generator.
      training: Training images of the reference.
      held_out: Held-out images of the reference, or None.

    Returns:
      Lines for the user.

    Raises:
      UserError: The images are others, a class has another label, or images that the generator has learnt
        from are among the held-out ones.
    """
    lines, saved = [], source.learnt_images
    names = saved.class_names if isinstance(saved, Fingerprint) else saved
    if request.reference is None and request.train_split is None:
        lines = refuse_changes(
            saved, training, source.split, owner=source.owner, allowed=request.allow_changes
        )
    elif (moved := moved_classes(names, training.class_names)) and not request.allow_changes:
        raise UserError(
            f"{training.name} has the classes of {source.owner} in another order: {moved}; give images with "
            f"the same classes in the same order, or {FLAG} to compare label by label"
        )
    if not isinstance(saved, Fingerprint):
        return lines
    if request.reference and saved.sample and training.keys is not None and not shared(saved, training):
        lines.append(
            f"images: {source.owner} has learnt from {saved.source}, {saved.split}, not from the training "
            f"images of {training.name}: nearest images and section 5 say nothing of memorised images"
        )
    if held_out:
        learnt = shared(saved, held_out)
        estimated = learnt / max(1, len(saved.sample)) * saved.images
        if learnt > MOST_SAMPLED and estimated > MOST_SHARED * held_out.num_examples:
            raise UserError(
                f"{source.owner} has learnt from the held-out images of {held_out.name}: {learnt} of "
                f"{len(saved.sample)} sampled training images are among them; name other held-out images by "
                "--test_split or --reference"
            )
    return lines


def refuse_shared_images(training: Source, held_out: Source) -> None:
    """Raises UserError if many of the held-out images are training images too, and warns of a few."""
    if training.keys is None or held_out.keys is None:
        return
    count = int(np.isin(held_out.keys, training.keys).sum())
    found = (
        f"{count:,} of {held_out.num_examples:,} held-out images ({held_out.description}) are training "
        f"images too ({training.description})"
    )
    if count > MOST_SHARED * held_out.num_examples:
        raise UserError(f"{found}: give splits without common images")
    if count:
        logging.warning("%s: scores of held-out images are a little too good", found)
