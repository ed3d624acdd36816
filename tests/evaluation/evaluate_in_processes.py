"""One process of several that evaluate a run on blobs; test_several_processes.py starts it.

evaluate_in_processes.py WORKDIR OUTPUT ADDRESS PROCESSES PROCESS_ID
"""

import json
import sys
from pathlib import Path

import jax
from blob_runs import make_config, open_blobs, random_state
from blobs import SETTINGS
from etils import epath
from rich.console import Console

from biggan_jax.evaluation import during_training, evaluator, reference, shuffled_patches
from biggan_jax.evaluation.during_training import TrainingEvaluation
from biggan_jax.evaluation.request import EvaluationRequest
from biggan_jax.runtime import processes

if __name__ == "__main__":
    workdir, output, address, count, index = sys.argv[1:]
    reference.open_source = open_blobs
    during_training.ClassifierSettings = evaluator.ClassifierSettings = lambda random_flip: SETTINGS
    shuffled_patches.LEAST = 100
    if int(count) > 1:
        processes.join(address, int(count), int(index))
    with processes.fail_fast():
        console = Console(quiet=True)
        # The others have no such folder: the first one's classifier and files count.
        folder = epath.Path(output if jax.process_index() == 0 else "/nowhere")
        request = EvaluationRequest(
            workdir=epath.Path(workdir), folder=folder, num_samples=601, truncations=(0.5,), cas=True
        )
        result = evaluator.evaluate(request, console)
        assert (result is None) == (jax.process_index() > 0)
        config = make_config(**{"evaluation.num_samples": 101})
        state = random_state(config)
        source = open_blobs("blobs", resolution=config.model.resolution)
        evaluation = TrainingEvaluation(config, source, folder if jax.process_index() == 0 else None, console)
        twice = [evaluation.scores(state.ema_params, state.generator.u) for _ in range(2)]
        assert twice[0] == twice[1]
        Path(output, f"training-{index}.json").write_text(json.dumps(twice[0]))
        if result:
            Path(output, "report.json").write_text(json.dumps(result.report.to_json()))
