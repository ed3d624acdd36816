"""Model card of an export: description, use, scores and provenance.

The card is Markdown for GitHub and the Hugging Face Hub. A class name may be the name of a folder and hold
any characters: it is escaped in text, and appears in code only if it is plain.
"""

import html
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax

from biggan_jax.data.fingerprint import FINGERPRINT
from biggan_jax.exports.stablehlo import PROGRAM
from biggan_jax.sampling.exported_generator import ExportedGenerator
from biggan_jax.sampling.latents import SCALED_LIMIT
from biggan_jax.sampling.truncation import describe, spread, untruncated

CARD = "README.md"
ARCHITECTURES = {"biggan": "BigGAN", "biggan_deep": "BigGAN-deep"}
PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9 /-]{0,30}")
MARKUP = re.compile(r"([\\`*_\[\]#|~$:@])")
MEANING = {
    "threshold": "Numbers of a latent beyond ±truncation are sampled again; 0 is untruncated.",
    "scale": "Latents are truncation times a normal that is cut off at ±2; 1 is untruncated.",
}
LATENTS = {  # in the snippet, by distribution
    "normal": "jax.random.normal(key, shape)",
    "uniform": "jax.random.uniform(key, shape, minval=-1, maxval=1)",
    "bernoulli": "jax.random.bernoulli(key, shape=shape).astype(np.float32)",
    "censored_normal": "jax.numpy.maximum(jax.random.normal(key, shape), 0)",
}


def model_card(exported: ExportedGenerator, program: bytes | None = None) -> str:
    """Writes the card.

    Args:
      exported: The generator.
      program: Content of the StableHLO file, or None if the export has none.

    Returns:
      Markdown.
    """
    model = exported.model
    origin = dict(exported.provenance)
    scores = origin.pop("scores", {})
    title = f"{ARCHITECTURES[model.architecture]}, {model.resolution} px, {_classes(model.num_classes)}"
    parts = [
        f"# {title}",
        "A generator of images by class ([Brock, Donahue, Simonyan 2019](https://arxiv.org/abs/1809.11096)), "
        "in the format of biggan_jax: the weights, divided by their spectral norms, and batch norm's "
        "standing statistics.",
        _table(["", ""], _facts(exported)),
        *_use(exported),
        *(_program_use(exported, program) if program else ()),
        "## Truncation",
        f"{MEANING[exported.truncation_kind]} A smaller spread of the latents gives better single images "
        "and less variety. Standing statistics are stored for "
        f"{_listed(exported)}; between these they are interpolated.",
        *_scores(scores),
        "## Provenance",
        _table(["", ""], _rows(origin)),
        "## Licence",
        "This export names no licence. Whoever distributes these weights states their licence, and checks "
        "that the licence of the training images allows it.",
        "## Classes",
        _class_table(exported.class_names, model.num_classes),
    ]
    return "\n\n".join(parts) + "\n"


def escape(text: object) -> str:
    """Escapes text, so that Markdown shows exactly this text in one line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return MARKUP.sub(r"\\\1", html.escape(line, quote=False))


def _facts(exported: ExportedGenerator) -> Iterator[tuple[str, str]]:
    model = exported.model
    yield "parameters", f"{sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(exported.params)):,}"
    yield "latents", f"{model.latent_dim} numbers, {escape(model.latent_distribution)}"
    yield "computes in", escape(model.dtype)
    yield "images", f"RGB, {model.resolution} × {model.resolution}"


def _use(exported: ExportedGenerator) -> Iterator[str]:
    yield "## Use"
    if not exported.statistics:
        yield "This export has no standing statistics, and sampling needs them: it is for further training."
        return
    classes = ", ".join(map(repr, _shown_classes(exported)))
    size = exported.model.resolution
    yield (
        "```python\nimport biggan_jax\n"
        'generator = biggan_jax.load("EXPORT")  # this folder\n'
        f"images = generator.sample(classes=[{classes}], truncation={_shown_truncation(exported):g}, seed=0)"
        f"  # u8[2, {size}, {size}, 3]\n```"
    )


def _program_use(exported: ExportedGenerator, program: bytes) -> Iterator[str]:
    model, truncation = exported.model, _shown_truncation(exported)
    yield "## Use without biggan_jax"
    yield (
        f"`{PROGRAM}` ({len(program) / 1e6:,.1f} MB) is the complete sampler for CPUs, CUDA GPUs and TPUs. "
        f"It needs JAX {jax.__version__}, the version that wrote it, or a newer one: "
        "`pip install jax flatbuffers`."
    )
    yield (
        "```python\nimport jax, jax.export\nimport numpy as np\n\n"
        f'with open("{PROGRAM}", "rb") as file:\n'
        "    sampler = jax.jit(jax.export.deserialize(bytearray(file.read())).call)\n"
        f"labels = np.arange(8, dtype=np.int32) % {model.num_classes}\n"
        f"key, shape, truncation = jax.random.key(0), (len(labels), {model.latent_dim}), {truncation!r}\n"
        f"z = {_shown_latents(exported)}\n"
        f"images = np.asarray(sampler(z, labels, truncation))  # u8[8, {model.resolution}, "
        f"{model.resolution}, 3]\n```"
    )
    yield (
        f"Labels must be from 0 to {model.num_classes - 1}; the program does not check them. A truncation "
        "outside of the stored ones uses the statistics of the nearest."
    )


def _shown_latents(exported: ExportedGenerator) -> str:
    if exported.truncation_kind == "scale":
        return f"truncation * jax.random.truncated_normal(key, -{SCALED_LIMIT:g}, {SCALED_LIMIT:g}, shape)"
    if _shown_truncation(exported) == 0:
        return LATENTS[exported.model.latent_distribution]
    return "jax.random.truncated_normal(key, -truncation, truncation, shape)  # for truncation 0: normal"


def _shown_truncation(exported: ExportedGenerator) -> float:
    """Returns the stored truncation in the middle."""
    kind = exported.truncation_kind
    stored = sorted(exported.statistics, key=lambda one: spread(kind, one))
    return stored[len(stored) // 2]


def _shown_classes(exported: ExportedGenerator) -> list[int | str]:
    """Returns two classes: the first plain name, else 0, and the last label."""
    names, last = exported.class_names, exported.model.num_classes - 1
    known = [name.casefold() for name in names]
    plain = [name for name in names if PLAIN.fullmatch(name) and known.count(name.casefold()) == 1]
    return [plain[0] if plain else 0, last]


def _listed(exported: ExportedGenerator) -> str:
    kind = exported.truncation_kind
    stored = sorted(exported.statistics, key=lambda one: spread(kind, one))
    words = [f"{one:g}" for one in stored if one != untruncated(kind)]
    if untruncated(kind) in stored:
        words.append(f"{untruncated(kind):g} ({describe(kind, untruncated(kind))})")
    return ", ".join(words) or "no truncation at all"


def _scores(scores: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if not scores:
        return
    yield "## Scores"
    yield (
        "The feature network of each score is after the @. A score compares only with scores of the same "
        "network and the same number of samples."
    )
    columns = ["score", "value", "samples", "truncation", "network's weights"]
    yield _table(columns, (_score(name, score) for name, score in scores.items()))


def _score(name: str, score: Mapping[str, Any]) -> Sequence[str]:
    value = score["value"]
    deviation = score.get("std", score.get("standard_error"))
    shown = "–" if value is None else f"{value:.4g}" + (f" ± {deviation:.2g}" if deviation else "")
    network = score.get("network") or {}
    truncation = score.get("truncation")
    return [
        escape(name),
        shown,
        f"{score['num_samples']:,}" if "num_samples" in score else "–",
        "–" if truncation is None else f"{truncation:g}" if truncation else "none",
        escape(network.get("weights_hash", "–")[:12]),
    ]


def _rows(values: Mapping[str, Any], prefix: str = "", of_files: bool = False) -> Iterator[tuple[str, str]]:
    """Yields nested values as rows such as `data, source`; only names of files keep their underscores."""
    for name, value in values.items():
        title = prefix + (name if of_files else name.replace("_", " "))
        if name == FINGERPRINT and isinstance(value, Mapping):
            yield escape(title), escape(value.get("sha256", ""))
        elif isinstance(value, Mapping):
            yield from _rows(value, f"{title}, ", name == "files")
        else:
            yield escape(title), escape(value)


def _class_table(names: Sequence[str], count: int) -> str:
    if not names:
        return f"Labels are 0 to {count - 1}; the names of the classes are unknown."
    return _table(["label", "class"], ((str(label), escape(name)) for label, name in enumerate(names)))


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _classes(count: int) -> str:
    return "1 class" if count == 1 else f"{count:,} classes"
