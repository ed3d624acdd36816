"""The model card: true to the export, runnable, and safe whatever the classes are called."""

import dataclasses
import os
import re
from html.parser import HTMLParser

import jax
import numpy as np
import pytest
from markdown_it import MarkdownIt
from tiny_exports import NAMES, SIZE, make_exported

from biggan_jax.exports.export_files import write_export
from biggan_jax.exports.model_card import escape, model_card
from biggan_jax.exports.stablehlo import PROGRAM, sampler_program

HOSTILE = (
    "<script>alert(1)</script>",
    "[x](javascript:alert(1)) ![y](http://z/p.png)",
    "a|b\n| c | d |\n# heading",
    "`code` *bold* _it_ ~~gone~~ $x$ &lt; &amp;",
    "back\\slash \\",
    "tab\there \u202e turned",
    "日本 – Ñandú",
    "",
    "-->",
)


class Page(HTMLParser):
    """The tags of a page and the cells of its tables."""

    def __init__(self, markdown):
        super().__init__()
        self.tags, self.rows, self._in_cell = set(), [], False
        self.feed(MarkdownIt("commonmark").enable("table").render(markdown))

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag):
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self._in_cell:
            self.rows[-1][-1] += data


def snippets(card):
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


def test_names_of_classes_are_shown_as_they_are_and_make_no_markup():
    exported = make_exported(names=HOSTILE, **{"model.num_classes": len(HOSTILE)})
    page = Page(model_card(exported))
    assert page.tags <= {"h1", "h2", "p", "a", "table", "thead", "tbody", "tr", "th", "td", "pre", "code"}
    shown = page.rows[-len(HOSTILE) :]
    for label, (row, name) in enumerate(zip(shown, HOSTILE, strict=True)):
        assert len(row) == 2 and row[0] == str(label)
        printed = "".join(character if character.isprintable() else " " for character in name)
        assert row[1].split() == printed.split(), name


def test_a_name_that_means_something_in_code_is_not_put_into_code():
    names = ("```", '"); import os; ("', "'", "twin", "Twin", "\\", "x\n", "[", "sandal shoe")
    exported = make_exported(names=names, **{"model.num_classes": len(names)})
    (snippet,) = snippets(model_card(exported))
    assert "classes=['sandal shoe', 8]" in snippet
    none = make_exported(names=names[:8], **{"model.num_classes": 8})
    assert "classes=[0, 7]" in snippets(model_card(none))[0]


def test_values_of_the_provenance_are_escaped_too():
    exported = make_exported()
    exported = dataclasses.replace(exported, provenance={"data": {"source": "folder:<b>|_x_"}})
    page = Page(model_card(exported))
    assert "b" not in page.tags and ["data, source", "folder:<b>|_x_"] in page.rows


def test_files_go_by_their_names_and_fields_by_words():
    exported = make_exported()
    files = {"G_ema.pth": "0123", "variables/a_b.index": "4567"}
    nested = {"files": files, "standing_statistics": {"batch_size": 64}}
    rows = Page(model_card(dataclasses.replace(exported, provenance=nested))).rows
    assert ["files, G_ema.pth", "0123"] in rows and ["files, variables/a_b.index", "4567"] in rows
    assert ["standing statistics, batch size", "64"] in rows


def test_escaped_text_stays_in_its_line():
    assert escape("a\r\nb\u2028c\x00d") == "a b c d"


def test_the_snippets_run_as_they_stand(tmp_path, monkeypatch):
    exported = make_exported()
    program = sampler_program(exported)
    card = model_card(exported, program)
    write_export(tmp_path / "EXPORT", exported, {"README.md": card.encode(), PROGRAM: program})
    package, alone = snippets(card)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(package, found)
    assert found["images"].shape == (2, SIZE, SIZE, 3) and "classes=['sandal', 2]" in package
    os.chdir("EXPORT")
    exec(alone, found)
    assert found["images"].shape == (8, SIZE, SIZE, 3) and found["images"].dtype == np.uint8
    assert f"{len(program) / 1e6:,.1f} MB" in card and f"JAX {jax.__version__}" in card


@pytest.mark.parametrize(
    ("fields", "largest", "deviation"),
    [
        ({"truncations": (0.25, 0.5, 0.0)}, 0.5, None),
        ({"truncations": (0.0,)}, np.inf, 1.0),
        ({"truncations": (0.02, 0.5, 1.0), "kind": "scale"}, 1.0, None),
        ({"truncations": (0.0,), "model.latent_distribution": "uniform"}, 1.0, 0.58),
        ({"truncations": (0.0,), "model.latent_distribution": "bernoulli"}, 1.0, 0.5),
        ({"truncations": (0.0,), "model.latent_distribution": "censored_normal"}, np.inf, 0.58),
    ],
)
def test_the_latents_of_the_snippet_are_those_of_the_generator(fields, largest, deviation):
    exported = make_exported(**fields)
    _, alone = snippets(model_card(exported, b"program"))
    lines = [line for line in alone.splitlines() if line.startswith(("key,", "z ="))]
    found = {"jax": jax, "np": np, "labels": np.zeros(3_000)}
    exec("\n".join(lines), found)
    z = np.asarray(found["z"])
    assert z.shape == (3_000, exported.model.latent_dim) and z.dtype == np.float32
    assert np.abs(z).max() <= largest and isinstance(found["truncation"], float)
    if np.isfinite(largest):
        assert np.abs(z).max() > 0.9 * largest
    if deviation:
        assert z.std() == pytest.approx(deviation, rel=0.03)


def test_scores_carry_network_count_and_truncation():
    exported = make_exported()
    scores = {
        "fid@classifier": {
            "value": 12.3456,
            "num_samples": 50_000,
            "truncation": 0.5,
            "network": {"network": "classifier", "weights_hash": "0123456789abcdef"},
        },
        "is@inception": {"value": 9.87, "std": 0.123, "num_samples": 1_000, "truncation": 0.0},
        "kid@mine:means": {"value": None},
    }
    exported = dataclasses.replace(exported, provenance={"step": 7, "scores": scores})
    rows = Page(model_card(exported)).rows
    assert ["fid@classifier", "12.35", "50,000", "0.5", "0123456789ab"] in rows
    assert ["is@inception", "9.87 ± 0.12", "1,000", "none", "–"] in rows
    assert ["kid@mine:means", "–", "–", "–", "–"] in rows
    assert ["step", "7"] in rows and not any("scores" in row[0] for row in rows if row)
    assert "## Scores" not in model_card(make_exported())


def test_truncations_are_listed_by_how_wide_they_are():
    assert "stored for 0.5, 1, 0 (untruncated);" in model_card(make_exported())
    scaled = model_card(make_exported((0.02, 0.5, 1.0), kind="scale"))
    assert "stored for 0.02, 0.5, 1 (untruncated);" in scaled and "cut off at ±2" in scaled


def test_without_names_or_statistics_the_card_says_so():
    card = model_card(make_exported((), names=()))
    assert "no standing statistics" in card and "import biggan_jax" not in card
    assert "Labels are 0 to 2; the names of the classes are unknown." in card
    assert all(name in model_card(make_exported()) for name in NAMES)
