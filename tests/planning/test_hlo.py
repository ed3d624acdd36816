"""Loops count as often as they turn: against programs small enough to count by hand, and XLA's own text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from biggan_jax.planning.hlo import totals

# As libtpu writes: without a count of turns, shapes with layouts, an estimate for each operation.
PROGRAM = """HloModule jit_step, entry_computation_layout={(f32[8]{0:T(256)})->f32[8]{0:T(256)}}

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[]{:T(256)} parameter(0)
  %b = f32[]{:T(256)} parameter(1)
  ROOT %sum = f32[]{:T(256)} add(%a, %b)
}

%inner_condition (p: (s32[], f32[8])) -> pred[] {
  %limit = s32[]{:T(256)} constant(5)
  %p = (s32[]{:T(256)}, f32[8]{0:T(256)}) parameter(0)
  %i = s32[]{:T(256)} get-tuple-element(%p), index=0
  ROOT %lt = pred[]{:T(1024)} compare(%i, %limit), direction=LT
}

%inner_body (q: (s32[], f32[8])) -> (s32[], f32[8]) {
  %q = (s32[]{:T(256)}, f32[8]{0:T(256)}) parameter(0)
  %x = f32[8]{0:T(256)} fusion(%q), kind=kLoop, calls=%add, backend_config={"estimated_cycles":"100","n":[]}
  %psum = bf16[2,4]{1,0:T(2,128)(2,1)} all-reduce(%x), replica_groups={{0,1}}, to_apply=%add
  ROOT %t = (s32[]{:T(256)}, f32[8]{0:T(256)}) tuple(%q, %x)
}

%outer_condition (r: (s32[], f32[8])) -> pred[] {
  %bound = s32[]{:T(256)} constant(3)
  %r = (s32[]{:T(256)}, f32[8]{0:T(256)}) parameter(0)
  %j = s32[]{:T(256)} get-tuple-element(%r), index=0
  ROOT %less = pred[]{:T(1024)} compare(%j, %bound), direction=LT
}

%outer_body (s: (s32[], f32[8])) -> (s32[], f32[8]) {
  %s = (s32[]{:T(256)}, f32[8]{0:T(256)}) parameter(0)
  %c = f32[8]{0:T(256)} copy(%s), backend_config={"estimated_cycles":"10"}
  ROOT %w = (s32[]{:T(256)}, f32[8]{0:T(256)}) while(%s), condition=%inner_condition, body=%inner_body
}

ENTRY %main (arg: f32[8]) -> f32[8] {
  %arg = f32[8]{0:T(256)} parameter(0)
  %f = (f32[16]{0:T(256)}, /*index=1*/u8[3]{0:T(256)}) all-reduce-start(%arg), to_apply=%add
  %g = (f32[1]{0:T(256)}, f32[4]{0:T(256)}) all-gather-start(%arg), dimensions={0}
  %v = (s32[]{:T(256)}, f32[8]{0:T(256)}) while(%arg), condition=%outer_condition, body=%outer_body
  ROOT %y = f32[8]{0:T(256)} copy(%arg), backend_config={"estimated_cycles":"1"}
}
"""


def test_nested_loops_multiply_and_only_results_of_collectives_count():
    found = totals(PROGRAM)
    assert found.cycles == 1 + 3 * (10 + 5 * 100)
    assert found.cycles_counting_loops_once == 1 + 10 + 100
    assert found.collective_bytes == 3 * 5 * (8 * 2) + (16 * 4 + 3) + 4 * 4


def test_a_loop_of_unknown_length_counts_once_as_the_compiler_counts_it():
    unknown = PROGRAM.replace("constant(3)", "parameter(1)")
    assert totals(unknown).cycles == 1 + 10 + 5 * 100


@pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices, real or simulated")
def test_what_xla_compiles_here_exchanges_what_its_loops_say():
    def step(x):
        def body(carry, _):
            return lax.psum(carry, "replicas") / 2, None

        x, _ = lax.scan(body, x, None, length=5)
        return lax.psum(x.astype(jnp.float16).sum(0), "replicas")

    mesh = Mesh(np.array(jax.devices()[:2]), ("replicas",))
    specs = dict(mesh=mesh, in_specs=PartitionSpec("replicas"), out_specs=PartitionSpec(), check_vma=False)
    text = jax.jit(jax.shard_map(step, **specs)).lower(jnp.ones((6, 4))).compile().as_text()
    in_loop, after = 5 * 3 * 4 * 4, 4 * 2
    # On CPUs half precision is summed in float32.
    assert totals(text).collective_bytes in (in_loop + after, in_loop + 2 * after)
