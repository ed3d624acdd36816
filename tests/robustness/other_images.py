"""A folder of pictures changes between two starts of a run: another set is refused, the same set goes on.

  python tests/robustness/other_images.py
  python tests/robustness/other_images.py --rounds=1

"Survived" is a change that leaves the images of the run in place; "refused" one that does not.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from tally import Tally

from biggan_jax.data import DataError, open_source
from biggan_jax.data.fingerprint import fingerprint, refuse_changes

ROUNDS = 20
CLASSES = ("cat", "dog", "fox")
PICTURES = 5  # of each class

Change = Callable[[Path, random.Random], None]


def write_pictures(folder: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(PICTURES):
            picture = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8))
            picture.save(folder / name / f"{number}.png")


def any_picture(folder: Path, chance: random.Random) -> Path:
    return chance.choice(sorted(folder.glob("*/*.png")))


def nothing(folder: Path, chance: random.Random) -> None:
    """The same folder."""


def newer_times(folder: Path, chance: random.Random) -> None:
    for path in folder.glob("*/*.png"):
        os.utime(path, (chance.randrange(2**31),) * 2)


def copied(folder: Path, chance: random.Random) -> None:
    aside = folder.with_name("aside")
    shutil.copytree(folder, aside)
    shutil.rmtree(folder)
    aside.rename(folder)


def one_more(folder: Path, chance: random.Random) -> None:
    path = any_picture(folder, chance)
    shutil.copy(path, path.with_name("more.png"))


def notes_beside(folder: Path, chance: random.Random) -> None:
    (folder / CLASSES[0] / "notes.txt").write_text("no picture")


def renamed_class(folder: Path, chance: random.Random) -> None:
    (folder / chance.choice(CLASSES)).rename(folder / chance.choice(("aardvark", "gnu", "zebra")))


def exchanged_classes(folder: Path, chance: random.Random) -> None:
    one, other = chance.sample(CLASSES, 2)
    (folder / one).rename(folder / "aside")
    (folder / other).rename(folder / one)
    (folder / "aside").rename(folder / other)


def one_less(folder: Path, chance: random.Random) -> None:
    any_picture(folder, chance).unlink()


def one_moved(folder: Path, chance: random.Random) -> None:
    path = any_picture(folder, chance)
    other = chance.choice([name for name in CLASSES if name != path.parent.name])
    path.rename(folder / other / "moved.png")


def one_replaced(folder: Path, chance: random.Random) -> None:
    Image.new("RGB", (9, 9)).save(any_picture(folder, chance))


def one_broken(folder: Path, chance: random.Random) -> None:
    path = any_picture(folder, chance)
    path.write_bytes(path.read_bytes()[: chance.randrange(60)])


def class_gone(folder: Path, chance: random.Random) -> None:
    shutil.rmtree(folder / chance.choice(CLASSES))


def class_new(folder: Path, chance: random.Random) -> None:
    shutil.copytree(folder / CLASSES[0], folder / "gnu")


def another_set(folder: Path, chance: random.Random) -> None:
    shutil.rmtree(folder)
    write_pictures(folder, chance.randrange(1, 2**31))


SAME = (nothing, newer_times, copied, one_more, notes_beside)
OTHER = (
    renamed_class,
    exchanged_classes,
    one_less,
    one_moved,
    one_replaced,
    one_broken,
    class_gone,
    class_new,
    another_set,
)


def goes_on(change: Change, seed: int, parent: Path) -> bool:
    """Returns whether a run on a fresh folder goes on after a change of it."""
    folder = parent / "pictures"
    write_pictures(folder, seed=0)
    source = f"folder:{folder}"
    saved = fingerprint(open_source(source, resolution=8), "train")
    change(folder, random.Random(seed))
    try:
        now = open_source(source, resolution=8, max_refused=0.5)
        refuse_changes(saved, now, "train", owner="the run", allowed=False)
    except DataError:
        return False
    return True


def main(rounds: int = ROUNDS) -> Tally:
    """Tries every change `rounds` times."""
    tally = Tally("images that change between two starts of a run")
    for seed in range(rounds):
        for change in (*SAME, *OTHER):
            with tempfile.TemporaryDirectory() as parent:
                went_on, expected = goes_on(change, seed, Path(parent)), change in SAME
            if went_on != expected:
                tally.failed(f"{change.__name__}, seed {seed}: {'went on' if went_on else 'was refused'}")
            elif expected:
                tally.survived()
            else:
                tally.refused()
    return tally


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="trials of each change")
    sys.exit(main(parser.parse_args().rounds).report())
