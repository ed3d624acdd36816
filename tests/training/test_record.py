"""The workdir of a run: what a damaged record of its rollbacks does."""

import numpy as np
import pytest
from tiny_workdirs import make_run_config

from biggan_jax.data import ArraySource
from biggan_jax.runtime.errors import UserError
from biggan_jax.training.run.record import Record


@pytest.mark.parametrize("damaged", ["", "7", "[7]", '[{"step": 5}]', '[{"step": 5, "to": "3"}]', "[" * 5000])
def test_a_damaged_record_of_rollbacks_is_refused_with_the_remedy(tmp_path, damaged):
    config = make_run_config()
    (tmp_path / "rollbacks.json").write_text(damaged)
    source = ArraySource(
        name="x",
        description="x",
        num_examples=2,
        class_names=("a", "b"),
        resolution=8,
        images=np.zeros((2, 8, 8, 3), np.uint8),
        labels=np.arange(2, dtype=np.int32),
    )
    with pytest.raises(UserError, match=r"rollbacks.json is damaged .*: restore it, or delete it"):
        Record(tmp_path, config, source, lambda: None)
    (tmp_path / "rollbacks.json").write_text('[{"step": 5, "seen": "noise", "to": 3}]')
    assert Record(tmp_path, config, source, lambda: None).rollbacks == 1
