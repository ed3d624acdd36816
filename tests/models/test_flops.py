"""The FLOP counter against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from biggan_jax.models import flops

F32 = jnp.float32


def count(function, *shapes):
    return flops.count(jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct(shape, F32) for shape in shapes)))


def conv(x, kernel, **options):
    options = {"window_strides": (1, 1), "padding": "SAME"} | options
    return lax.conv_general_dilated(x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options)


def test_matrix_product_counts_two_flop_for_every_multiplication():
    assert count(jnp.matmul, (5, 7), (7, 11)) == 2 * 5 * 7 * 11


def test_batched_product_counts_the_batch_once():
    assert count(lambda a, b: jnp.einsum("npd,nqd->npq", a, b), (3, 5, 7), (3, 11, 7)) == 2 * 3 * 5 * 11 * 7


def test_convolution_counts_every_output_pixel_tap_and_channel():
    assert count(conv, (2, 8, 6, 3), (3, 3, 3, 5)) == 2 * (2 * 8 * 6 * 5) * (3 * 3 * 3)


def test_strided_convolution_counts_only_the_outputs_it_keeps():
    # 8 → 4 a side, each output of 4×4 taps: as in conv_downsample.
    strided = lambda x, k: conv(x, k, window_strides=(2, 2), padding=((1, 1), (1, 1)))  # noqa: E731
    assert count(strided, (1, 8, 8, 3), (4, 4, 3, 5)) == 2 * (4 * 4 * 5) * (4 * 4 * 3)


def test_grouped_convolution_counts_the_channels_of_one_group():
    grouped = lambda x, k: conv(x, k, feature_group_count=2)  # noqa: E731
    assert count(grouped, (1, 8, 8, 4), (3, 3, 2, 6)) == 2 * (8 * 8 * 6) * (3 * 3 * 2)


def test_zeros_inserted_by_a_transposed_convolution_are_not_counted():
    # 4×4 kernel over a map dilated by 2: of 4 taps along an axis, 2 meet pixels and 2 inserted zeros.
    transposed = lambda x, k: conv(x, k, lhs_dilation=(2, 2), padding=((2, 2), (2, 2)))  # noqa: E731
    assert count(transposed, (1, 8, 8, 3), (4, 4, 3, 5)) == 2 * (16 * 16 * 5) * (2 * 2 * 3)


def test_odd_kernel_over_a_dilated_map_counts_what_each_phase_meets():
    # Along an axis of 8 pixels dilated to 15, padded by 1 and 2 to 16 outputs: outputs meet 1 and 2 of the
    # 3 taps in turn, 8·1 + 8·2.
    transposed = lambda x, k: conv(x, k, lhs_dilation=(2, 2), padding=((1, 2), (1, 2)))  # noqa: E731
    assert count(transposed, (1, 8, 8, 1), (3, 3, 1, 1)) == 2 * 24 * 24


def test_stride_and_padding_decide_which_taps_meet_inserted_zeros():
    def pointwise(padding):
        return lambda x, k: conv(x, k, window_strides=(2, 2), lhs_dilation=(2, 2), padding=(padding, padding))

    # In a map dilated by 2, pixels and inserted zeros take turns; stride 2 meets only the one or the other.
    assert count(pointwise((0, 0)), (1, 8, 8, 1), (1, 1, 1, 1)) == 2 * 8 * 8
    assert count(pointwise((-1, 0)), (1, 8, 8, 1), (1, 1, 1, 1)) == 0


def test_dilated_kernel_has_as_many_taps_as_weights():
    dilated = lambda x, k: conv(x, k, rhs_dilation=(2, 2))  # noqa: E731
    assert count(dilated, (1, 8, 8, 1), (3, 3, 1, 1)) == 2 * 64 * 9


def test_other_dimension_order_counts_the_same():
    nchw = lambda x, k: lax.conv_general_dilated(  # noqa: E731
        x, k, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")
    )
    assert count(nchw, (2, 3, 8, 6), (5, 3, 3, 3)) == count(conv, (2, 8, 6, 3), (3, 3, 3, 5))


def test_what_nothing_uses_is_not_counted():
    def only_the_kernels_gradient(x, kernel):
        value, pullback = jax.vjp(lambda k: conv(x, k), kernel)
        return pullback(jnp.ones_like(value))

    def in_a_loop(x, w):
        def body(carry, _):
            carry @ carry  # a product that goes nowhere
            return carry @ w, None

        return lax.scan(body, x, None, length=3)[0]

    once = count(conv, (2, 8, 8, 3), (3, 3, 3, 5))
    assert count(only_the_kernels_gradient, (2, 8, 8, 3), (3, 3, 3, 5)) == once
    assert count(in_a_loop, (5, 5), (5, 5)) == 3 * 2 * 5**3


def test_scan_counts_its_body_once_a_turn():
    def repeated(x, w):
        return lax.scan(lambda carry, _: (carry @ w, None), x, length=7)[0]

    assert count(repeated, (4, 4), (4, 4)) == 7 * 2 * 4**3


@pytest.mark.parametrize("wrap", [jax.jit, jax.checkpoint, jax.vmap, lambda f: jax.jit(jax.checkpoint(f))])
def test_arithmetic_inside_a_nested_function_is_found(wrap):
    assert count(wrap(lambda a, b: a @ b), (3, 4, 4), (3, 4, 4)) == 3 * 2 * 4**3


def test_custom_derivatives_count_the_forward_pass_once():
    @jax.custom_vjp
    def vjp_product(a, b):
        return a @ b

    vjp_product.defvjp(
        lambda a, b: (a @ b, (a, b)), lambda residuals, g: (g @ residuals[1].T, residuals[0].T @ g)
    )

    @jax.custom_jvp
    def jvp_product(a, b):
        return a @ b

    jvp_product.defjvp(lambda primals, tangents: (primals[0] @ primals[1], tangents[0] @ primals[1]))
    for product in (vjp_product, jvp_product):
        assert count(product, (4, 4), (4, 4)) == 2 * 4**3


def test_backward_pass_counts_three_products_for_one():
    def loss(a, b):
        return jnp.sum(jnp.square(a @ b))

    assert count(jax.grad(loss, argnums=(0, 1)), (4, 4), (4, 4)) == 3 * 2 * 4**3


def test_only_one_branch_of_a_condition_counts():
    def either(a, b):
        return lax.cond(jnp.sum(a) > 0, lambda: a @ b, lambda: a @ b @ b)

    def platform(a, b):
        return lax.platform_dependent(a, b, cpu=lambda a, b: a @ b, default=lambda a, b: a @ b)

    assert count(either, (4, 4), (4, 4)) == 2 * 2 * 4**3
    assert count(platform, (4, 4), (4, 4)) == 2 * 4**3


def test_while_loop_with_arithmetic_is_refused_not_undercounted():
    def unknown(a, b):
        return lax.while_loop(lambda x: jnp.sum(x) < 1, lambda x: x @ b, a)

    with pytest.raises(ValueError, match="while loop"):
        count(unknown, (4, 4), (4, 4))
    assert count(lambda a: lax.while_loop(lambda x: jnp.sum(x) < 1, lambda x: x + 1, a), (4, 4)) == 0


def test_arithmetic_is_attributed_to_the_scope_it_is_written_in():
    @jax.jit
    def inner(a):
        with jax.named_scope("inner"):
            return a @ a

    def outer(a):
        with jax.named_scope("outer"):
            b = inner(a)
            return lax.scan(lambda c, _: (inner(c), None), b, length=3)[0] @ a

    scopes = flops.by_scope(jax.make_jaxpr(outer)(jnp.ones((4, 4))))
    assert scopes == {("outer", "inner"): 4 * 2 * 4**3, ("outer",): 2 * 4**3}


def test_agrees_with_xla_where_xla_counts_the_same_things():
    # XLA leaves out taps that fall on padding, so no padding here.
    def network(x, k, w):
        return conv(x, k, padding="VALID").reshape(2, -1) @ w

    shapes = (2, 10, 10, 3), (3, 3, 3, 8), (8 * 8 * 8, 16)
    arguments = [jax.ShapeDtypeStruct(shape, F32) for shape in shapes]
    assert count(network, *shapes) == jax.jit(network).lower(*arguments).compile().cost_analysis()["flops"]
