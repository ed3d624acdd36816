"""A saved run: its config, the names of its classes, and its state at a checkpoint."""

import logging

from etils import epath
from ml_collections import ConfigDict

from biggan_jax.config import default_config, flatten, validate
from biggan_jax.data import DataError, Source, open_source
from biggan_jax.data.fingerprint import Fingerprint, class_changes, refuse_changes
from biggan_jax.data.tfds_images import is_prepared
from biggan_jax.runtime.errors import UserError
from biggan_jax.runtime.json_values import parse_json
from biggan_jax.training.run.checkpoints import Checkpoints, Restored
from biggan_jax.training.step.losses import LOSSES
from biggan_jax.training.step.state import abstract_state

CLASSES = "classes.json"
IMAGES = "images"  # key of the images' fingerprint among the loop's values of a checkpoint


def saved_config(workdir: epath.Path) -> ConfigDict:
    """Reads the config of a run.

    Args:
      workdir: Directory of the run.

    Raises:
      UserError: The config is missing, damaged, or of another version of this package.
    """
    path = workdir / "config.json"
    try:
        saved = parse_json(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(
            f"--workdir={workdir}: no run here (no config.json); give the --workdir of "
            "python -m biggan_jax.train"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read {path} ({error}); start the training command again, which writes it"
        ) from error
    config = default_config()
    try:
        config.update_from_flattened_dict(flatten(saved))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is of another version of this package: {error}") from error
    validate(config)
    return config


def recorded_loss(workdir: epath.Path) -> str:
    """Returns the run's `config.loss`; "hinge" if its config is missing, damaged or of an older version."""
    try:
        name = parse_json((workdir / "config.json").read_bytes())["loss"]
    except (OSError, ValueError, KeyError, TypeError):
        return "hinge"
    return name if name in LOSSES else "hinge"


def restore(workdir: epath.Path, config: ConfigDict, step: int | None) -> Restored:
    """Reads a checkpoint of a run.

    Args:
      workdir: Directory of the run.
      config: Config of the run.
      step: Step of the checkpoint; None for the newest readable one.

    Raises:
      UserError: The checkpoint does not exist or cannot be read.
    """
    folder = workdir / "checkpoints"
    restored = None
    if folder.is_dir():
        checkpoints = Checkpoints(folder, config, read_only=True)
        if step is None:
            restored = checkpoints.restore_latest(abstract_state(config))
        elif step in checkpoints.steps:
            restored = _restore_step(checkpoints, config, step)
        elif checkpoints.steps:
            listed = ", ".join(map(str, checkpoints.steps))
            raise UserError(f"--step={step}: the checkpoints in {folder} are of the steps {listed}")
        checkpoints.close()
    if restored is None:
        raise UserError(
            f"--workdir={workdir}: the run has no checkpoint yet; let it train to its first "
            "(config.checkpoint_every), or stop it with Ctrl-C, which saves one"
        )
    return restored


def best_step(workdir: epath.Path, config: ConfigDict) -> int:
    """Returns the step of the best checkpoint by `config.checkpoints.metric`.

    Args:
      workdir: Directory of the run.
      config: Config of the run.

    Raises:
      UserError: The run does not keep its best checkpoints, or none of them has that number.
    """
    metric, folder = config.checkpoints.metric, workdir / "checkpoints"
    if not config.checkpoints.best:
        raise UserError(
            "--best: this run does not keep its best checkpoints (config.checkpoints.best = 0); omit --best "
            "for the newest, or give --step"
        )
    best = None
    if folder.is_dir():
        checkpoints = Checkpoints(folder, config, read_only=True)
        best = checkpoints.best
        checkpoints.close()
    if best is None:
        raise UserError(
            f"--best: none of the checkpoints in {folder} has a {metric} yet (a score that is not meaningful "
            "is left out, with a warning); omit --best for the newest, or give --step"
        )
    return best


def recorded_images(restored: Restored) -> Fingerprint | None:
    """Returns the fingerprint of the images that a checkpoint has learnt from, or None if it has none."""
    return Fingerprint.from_json(restored.loop.get(IMAGES))


def refuse_other_images(
    workdir: epath.Path, restored: Restored, source: Source, split: str, *, allowed: bool
) -> list[str]:
    """Refuses images other than those that a checkpoint has learnt from, unless that is allowed.

    Args:
      workdir: Directory of the run.
      restored: The checkpoint.
      source: The images.
      split: Their split.
      allowed: Whether other images are allowed.

    Returns:
      Lines for the user.

    Raises:
      DataError: The images are others, and `allowed` is False.
    """
    return refuse_changes(
        recorded_images(restored) or recorded_class_names(workdir),
        source,
        split,
        owner=f"the checkpoint of step {restored.step:,}",
        allowed=allowed,
    )


def recorded_class_names(workdir: epath.Path, restored: Restored | None = None) -> tuple[str, ...]:
    """Returns the class names that the run recorded; none if it is of an older version or has not begun.

    A checkpoint's fingerprint comes first: the run may have gone on with other classes since.

    Args:
      workdir: Directory of the run.
      restored: The checkpoint, or None if only the workdir counts.
    """
    images = recorded_images(restored) if restored else None
    if images:
        return images.class_names
    try:
        names = parse_json((workdir / CLASSES).read_bytes())
    except (OSError, ValueError):
        return ()
    known = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if known else ()


def class_names(workdir: epath.Path, config: ConfigDict, restored: Restored | None = None) -> tuple[str, ...]:
    """Returns a name for each label, as the run recorded them or as its data source gives them.

    Labels without a class are called `class 7`. If neither has names, it warns and returns none.

    Args:
      workdir: Directory of the run.
      config: Config of the run.
      restored: The checkpoint, or None if only the workdir counts.
    """
    names, later = recorded_class_names(workdir, restored), recorded_class_names(workdir)
    if restored and later and names != later:
        (change, *_) = class_changes(names, later)
        logging.warning(
            "step %d has learnt other classes than the run has now (%s): its own are used",
            restored.step,
            change,
        )
    names = names or _names_of_source(config)
    count = config.model.num_classes
    if len(names) > count:
        logging.warning("%d names for %d classes: the names are not used", len(names), count)
        return ()
    return names and (*names, *(f"class {label}" for label in range(len(names), count)))


def _names_of_source(config: ConfigDict) -> tuple[str, ...]:
    data, resolution = config.data, config.model.resolution
    kind, _, name = data.source.partition(":")
    try:
        if kind == "tfds" and not is_prepared(name):
            raise DataError(f"{data.source} is not prepared on this machine")
        source = open_source(data.source, data.split, resolution=resolution, max_refused=data.max_refused)
    except (UserError, OSError) as error:
        logging.warning("classes are shown by number, because their names are unknown: %s", error)
        return ()
    return source.class_names


def _restore_step(checkpoints: Checkpoints, config: ConfigDict, step: int) -> Restored:
    try:
        return checkpoints.restore(step, abstract_state(config))
    except UserError:
        raise
    except Exception as error:  # a damaged file makes orbax or its libraries raise anything
        raise UserError(f"--step={step}: cannot read this checkpoint ({error}); choose another") from error
