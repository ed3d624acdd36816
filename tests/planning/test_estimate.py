"""What a plan makes of the compiler's answers, and that it is the program of training that is compiled."""

import dataclasses
import io
import json
import math
import types

import jax
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr
from rich.console import Console
from tiny_pod import make_config, make_slice

from biggan_jax.config import ConfigError
from biggan_jax.models import flops
from biggan_jax.planning import estimate, report
from biggan_jax.planning.estimate import make_plan, planned_bytes, suggestions
from biggan_jax.runtime.mappings import MAPPINGS
from biggan_jax.runtime.replicas import AXIS, Replicas
from biggan_jax.training.step.program import abstract_arguments
from biggan_jax.training.step.state import abstract_state
from biggan_jax.training.step.update import make_update

pytestmark = pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices, real or simulated")

MEMORY = types.SimpleNamespace(
    argument_size_in_bytes=2_000_000,
    temp_size_in_bytes=300_000,
    generated_code_size_in_bytes=40_000,
    output_size_in_bytes=1_500_000,
    alias_size_in_bytes=1_400_000,
)
PROGRAM = """
%twice (a: s32[]) -> pred[] {
  %limit = s32[] constant(3)
}
%body (a: s32[]) -> s32[] {
  %work = f32[] copy(%a), backend_config={"estimated_cycles":"20000000"}
  %sum = f32[25]{0} all-reduce(%work)
}
ENTRY %main (a: s32[]) -> s32[] {
  %work = f32[] copy(%a), backend_config={"estimated_cycles":"34000000"}
  %loop = s32[] while(%work), condition=%twice, body=%body
}
"""


class Compiler:
    """Stands in for `make_call`, the call, what is lowered and what is compiled of it."""

    def __init__(self, text=PROGRAM, refusal=None, optimal=0.027):
        self.text, self.refusal, self.optimal = text, refusal, optimal

    def __call__(self, update, replicas):
        return self

    def lower(self, *arguments):
        return self

    def compile(self):
        if self.refusal:
            raise jax.errors.JaxRuntimeError(self.refusal)
        return self

    def memory_analysis(self):
        return MEMORY

    def cost_analysis(self):
        return {"optimal_seconds": self.optimal}

    def as_text(self):
        return self.text


@pytest.fixture
def plan(monkeypatch):
    """Plans with a compiler that stands in, and no arithmetic but 94e9 FLOP a call."""

    def make(config=None, pod=None, **answers):
        config = config or make_config()
        compiler = Compiler(**answers)
        monkeypatch.setattr(estimate, "make_call", compiler)
        monkeypatch.setattr(jax, "make_jaxpr", lambda function: lambda *arguments: None)
        monkeypatch.setattr(flops, "count", lambda jaxpr: 94 * 10**9)
        return make_plan(config, pod or make_slice(), lambda line: None)

    return make


def test_times_count_loops_as_often_as_they_turn_and_add_up_to_hours(plan):
    found = plan()
    # 34 million cycles, and 20 million three times over, at 940 MHz.
    assert found.seconds_per_step == pytest.approx(0.1)
    # The other estimate counts every loop once: 54 million cycles of 94.
    assert found.best_seconds_per_step == pytest.approx(0.027 * 94 / 54)
    assert found.tflop_per_step == pytest.approx(0.094)
    assert found.share_of_peak == pytest.approx(0.94 / 61.5)
    assert found.collective_bytes == 3 * 100
    assert found.hours == pytest.approx(7_200 * 0.1 / 3600)
    assert found.device_hours == pytest.approx(2 * found.hours)


def test_of_a_call_of_several_steps_a_step_is_its_part(plan):
    one, four = plan(), plan(make_config(steps_per_call=4))
    for name in ("seconds_per_step", "best_seconds_per_step", "tflop_per_step", "collective_bytes", "hours"):
        assert getattr(four, name) == pytest.approx(getattr(one, name) / 4)


def test_memory_is_all_that_is_not_written_over_the_state(plan):
    assert planned_bytes(MEMORY) == 2_000_000 + 300_000 + 40_000 + 100_000
    found = plan()
    config = make_config()
    state = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(abstract_state(config)))
    assert (found.hbm_bytes, found.state_bytes) == (2_440_000, state)
    assert found.activation_bytes == 2_440_000 - state
    assert found.fits and not plan(pod=make_slice(hbm_limit=2_439_999)).fits


def test_a_refusal_for_lack_of_memory_is_a_plan_that_does_not_fit(plan):
    message = "RESOURCE_EXHAUSTED: HLO temporaries (3.00G) exceeds available HBM (1.00G)"
    found = plan(refusal=message)
    assert not found.fits and found.hbm_bytes == 3 * 2**30
    assert found.tflop_per_step == pytest.approx(0.094)
    assert found.seconds_per_step is found.hours is found.collective_bytes is None
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        plan(refusal="INTERNAL: a bug of the compiler")


def test_a_compiler_without_estimates_leaves_times_open(plan):
    found = plan(text=PROGRAM.replace("estimated_cycles", "another_name"))
    assert found.fits and found.seconds_per_step is found.hours is None
    assert found.collective_bytes == 300


def test_a_best_time_below_zero_is_not_known_and_the_other_times_are(plan):
    found = plan(optimal=-199.0)
    assert found.best_seconds_per_step is None
    assert found.seconds_per_step == pytest.approx(0.1) and found.hours


def test_batches_that_replicas_do_not_divide_are_refused_by_the_config_before_anything_is_traced(plan):
    with pytest.raises(ConfigError, match=r"config.batch_size = 15: the batch is divided among 2 replicas"):
        plan(make_config(batch_size=15))


@pytest.fixture(scope="module", params=MAPPINGS)
def compiled_here(request):
    """A plan for two devices of this machine, by its own compiler, and its config."""
    config = make_config(**{"replicas.mapping": request.param, "micro_batches": 2})
    lines = []
    found = make_plan(config, make_slice(), lines.append)
    assert lines == ["tracing", "compiling"]
    return config, found


def written_out(config):
    """The step of one of two replicas with every loop written out."""
    update = make_update(config, AXIS, unroll=True)
    replicas = Replicas(config.replicas.mapping, jax.devices()[:2])
    state, (batches, _) = abstract_arguments(config, replicas)
    of_step = {name: jax.ShapeDtypeStruct((2, *x.shape[2:]), x.dtype) for name, x in batches.items()}
    return jax.make_jaxpr(replicas.map(update))(state, of_step).jaxpr


def equations(jaxpr):
    for eqn in jaxpr.eqns:
        yield eqn
        for value in eqn.params.values():
            if isinstance(value, ClosedJaxpr | Jaxpr):
                yield from equations(getattr(value, "jaxpr", value))


@pytest.mark.slow
def test_all_d_updates_and_micro_batches_are_in_the_arithmetic_and_in_the_traffic(compiled_here):
    config, found = compiled_here
    loopless = written_out(config)
    assert not any(eqn.primitive.name == "scan" for eqn in equations(loopless))
    assert found.tflop_per_step == pytest.approx(flops.count(ClosedJaxpr(loopless, ())) / 1e12, rel=1e-12)
    sums = [
        math.prod(x.aval.shape) * x.aval.dtype.itemsize
        for eqn in equations(loopless)
        if eqn.primitive.name.startswith("psum")
        for x in eqn.outvars
    ]
    # The compiler leaves out what is known to be zero: gradients of biases that a batch norm takes away.
    assert found.collective_bytes == pytest.approx(sum(sums), rel=0.05)
    assert found.batch_per_replica == 8 and found.replicas == 2


@pytest.mark.slow
def test_this_machines_compiler_plans_memory_and_says_nothing_of_time(compiled_here):
    _, found = compiled_here
    assert found.fits and found.state_bytes < found.hbm_bytes < found.hbm_limit_bytes
    assert found.seconds_per_step is found.share_of_peak is found.device_hours is None


def test_suggestions_are_those_that_are_left(plan):
    found = plan(pod=make_slice(hbm_limit=1))
    first, *others = suggestions(make_config(**{"model.dtype": "float32"}), found)
    assert "model.dtype=bfloat16" in first
    words = "\n".join(others)
    for field in ("model.remat=True", "micro_batches=2", "batch_size=8", "more chips"):
        assert field in words
    config = make_config(**{"model.dtype": "bfloat16", "model.remat": True, "micro_batches": 8})
    assert [line.split(",")[0] for line in suggestions(config, found)] == ["--config.batch_size=8"]


def test_the_table_has_a_column_for_each_slice_and_says_what_does_not_fit(plan):
    config, console = make_config(), Console(width=120, file=io.StringIO())
    small, large = plan(pod=make_slice(hbm_limit=2_000_000)), plan(pod=make_slice()._replace(name="v3:16x16"))
    report.show(console, config, [small, large])
    lines = console.file.getvalue().splitlines()
    cells = {line.strip().partition("  ")[0]: line.split()[-2:] for line in lines}
    assert next(line for line in lines if "v3:1x1" in line).split() == ["v3:1x1", "v3:16x16"]
    assert cells["seconds a step"] == ["0.1", "0.1"]
    assert cells["share of peak"] == ["1.53", "%"]
    assert cells["HBM of a device"][-1] == "GiB" and sum(": does not fit" in line for line in lines) == 2
    told = lines.index("v3:1x1: does not fit. Suggestions:")
    assert lines[told + 1].startswith("  --config.") and "estimate" in lines[-1]


def test_what_is_not_known_is_a_dash_in_the_table_and_null_in_json(plan):
    refused = plan(refusal="RESOURCE_EXHAUSTED: HLO temporaries (3.00G) exceeds available HBM (1.00G)")
    console = Console(width=120, file=io.StringIO())
    console.print(report.table(make_config(), [refused]))
    hours = next(line for line in console.file.getvalue().splitlines() if "hours for the run" in line)
    assert hours.split()[-1] == "–"
    assert json.loads(report.as_json(refused))["hours"] is None
    assert set(json.loads(report.as_json(plan()))) == {field.name for field in dataclasses.fields(refused)}
