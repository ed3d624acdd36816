"""A made-up report as in evaluation.json, for the tests of what shows it."""

import numpy as np


def make_report(classes=3, **fields):
    """Class i is recognised in i of `classes` cases; `classes` may be the rows themselves."""
    rows = classes
    if isinstance(classes, int):
        rows = [
            {
                "label": label,
                "name": f"class {label}",
                "num_samples": 4,
                "recognised@classifier": label / classes,
                "diversity@classifier": 0.5 if label else None,
                "fid@classifier": 1.25 if label else None,
                "test_accuracy": 0.75 if label else None,
            }
            for label in range(classes)
        ]
    return {
        "step": 1234,
        "weights": "average (EMA)",
        "statistics": {"mode": "standing", "passes": 20, "batch_size": 64},
        "truncation": 0.0,
        "num_samples": 4 * len(rows) or 12,
        "resolution": 16,
        "network": {"network": "classifier", "input_size": 16, "resize": "none", "weights_hash": HASH},
        "reference": {
            "source": "blobs",
            "training": "Blobs; train: 300",
            "images": 300,
            "held_out": "Blobs; test: 150",
            "held_out_images": 150,
        },
        "classifier": {"hash": HASH, "test_accuracy": 0.912, "test_images": 10_000},
        "scores": {
            "is@classifier": {"value": 6.0, "std": 0.25, "splits": 10, "held_out": {"value": 7.0}},
            "fid@classifier": {
                "value": 12.34,
                "expected_bias": 1.5,
                "extrapolated": 10.75,
                "held_out": {"value": 2.0},
            },
            "recall@classifier": {"value": 0.25, "held_out": None},
            "recognised@classifier": {"value": 0.853},
            "diversity@classifier": {"value": 0.77},
        },
        "notes": [],
        "beyond_is": [
            _section(1, "First", False, "All is well."),
            _section(4, "Fourth", True, "Few are varied."),
            _section(5, "Fifth", False, "Not measured: none held out.") | {"measured": False},
        ],
        "classes": rows,
        "truncations": [],
    } | fields


def tagged_samples(rows, classes):
    """Images u8[rows, classes, 16, 16, 3] whose red says the class and whose green the row."""
    images = np.full((rows, classes, 16, 16, 3), 7, np.uint8)
    images[..., 0] = (np.arange(classes) * 100)[None, :, None, None]
    images[..., 1] = (np.arange(rows) * 50)[:, None, None, None]
    return images


def _section(number, title, flagged, sentence):
    return {
        "blind_spot": number,
        "title": title,
        "blindness": f"Nobody sees {title.lower()}.",
        "measured": True,
        "flagged": flagged,
        "sentence": sentence,
    }


HASH = "0123456789ab"
