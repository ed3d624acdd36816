"""Every config file is valid, and everything that cannot run is refused with field, value and remedy."""

import math
import runpy
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from biggan_jax.config import FIELDS, ConfigError, default_config, validate
from biggan_jax.config.allowed import Choice
from biggan_jax.config.fields import SECTIONS
from biggan_jax.runtime.ranges import Number

CONFIGS = Path(__file__).parents[1] / "configs"
# finetune.py is nothing by itself: tests/training/test_initialization.py has its tests.
FILES = sorted(file for file in CONFIGS.glob("*.py") if file.stem not in ("__init__", "finetune"))


def load(name: str, **overrides) -> ConfigDict:
    config = runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"]()
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in overrides.items()})
    return config


def problems(config: ConfigDict, replicas: int = 1) -> list[str]:
    with pytest.raises(ConfigError) as error:
        validate(config, replicas)
    return [line.strip() for line in str(error.value).splitlines()]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_config_file_is_valid_locked_and_says_what_it_reproduces(file):
    module = runpy.run_path(str(file))
    config = module["get_config"]()
    validate(config)
    assert config.is_locked
    assert module["__doc__"].count("\n") >= 2


def test_all_models_of_the_paper_have_a_config():
    imagenet = {f"imagenet{size}" for size in (64, 128, 256, 512)}
    deep = {f"imagenet{size}_deep" for size in (128, 256, 512)}
    assert {file.stem for file in FILES} >= {"fashion_mnist", "cifar10"} | imagenet | deep


@pytest.mark.parametrize("name", [*(f"imagenet{size}" for size in (64, 128, 256, 512)), "imagenet128_deep"])
def test_imagenet_configs_train_as_the_paper_does(name):
    config = load(name)
    assert (config.batch_size, config.d_steps) == (2048, 2)
    optimizer = config.optimizer
    assert (optimizer.g_learning_rate, optimizer.d_learning_rate) == (5e-5, 2e-4)
    assert (optimizer.beta1, optimizer.beta2, optimizer.epsilon) == (0, 0.999, 1e-8)
    assert optimizer.orthogonal_regularization == 1e-4
    assert (config.ema.decay, config.ema.start_step) == (0.9999, 20_000)
    assert config.model.epsilon == 1e-4


@pytest.mark.parametrize("name", ["imagenet256_deep", "imagenet512_deep"])
def test_large_deep_configs_use_one_low_rate(name):
    optimizer = load(name).optimizer
    assert (optimizer.g_learning_rate, optimizer.d_learning_rate) == (2.5e-5, 2.5e-5)


def refusal(field: str, value, remedy: str, name: str = "imagenet128", **others):
    return pytest.param(name, field, value, others, remedy, id=f"{field}={value}")


REFUSALS = [
    refusal("model.resolution", 1024, "give your own in model.generator_channels"),
    refusal("model.resolution", 100, "[32, 64, 128, 256, 512]"),
    refusal("model.generator_channels", (4, 2, 1), "takes 6 widths"),
    refusal("model.channels", 0, "give 1 to "),
    refusal("model.num_classes", 0, "give 1 to ", data__source="tfds:own"),
    refusal("model.num_classes", -3, "give 1 to ", data__source="tfds:own"),
    refusal("model.num_classes", 100, "'tfds:cifar10' has 10 classes; give 10", name="cifar10"),
    refusal("model.num_classes", 10, "give 1000", data__source="tfds:imagenet2012:5.1.0"),
    refusal("model.latent_dim", 0, "give 1 to "),
    refusal("model.latent_dim", 128, "6 equal chunks, for the first layer and 5 blocks; give 126"),
    refusal("model.latent_dim", 2, "give 6"),
    refusal("model.class_embedding_dim", 0, "give 1 to "),
    refusal(
        "model.hierarchical_latents",
        True,
        "give False, or config.model.conditioning='shared_embedding' or 'self_modulation'",
        model__shared_embedding=False,
    ),
    refusal(
        "model.hierarchical_latents",
        True,
        "'class_tables' takes no chunks of the latent",
        model__conditioning="class_tables",
    ),
    refusal("model.hierarchical_latents", True, "give False", name="imagenet128_deep"),
    refusal("model.attention_resolution", 48, "or 0 for no attention"),
    refusal("model.attention_resolution", 64, "[4, 8, 16, 32]", name="imagenet64"),
    refusal("model.attention_resolution", -1, "or 0 for no attention"),
    refusal("model.architecture", "stylegan", "choose one of 'biggan', 'biggan_deep'"),
    refusal("model.latent_distribution", "gauss", "'normal', 'uniform', 'bernoulli', 'censored_normal'"),
    refusal("model.dtype", "float16", "choose one of 'float32', 'bfloat16'"),
    refusal("model.epsilon", 0.0, "such as 0.0001"),
    refusal("batch_size", 0, "give 1 to "),
    refusal("total_steps", 0, "give 1 or more"),
    refusal("d_steps", 0, "give 1 to "),
    refusal("log_every", 0, "give 1 or more"),
    refusal("sample_every", -1, "give 0 or more"),
    refusal("checkpoint_every", -1, "give 0 or more"),
    refusal("seed", -1, "give 0 or more"),
    refusal("seed", 2**32, "below 2**32"),
    refusal("optimizer.g_learning_rate", -1e-4, "give 0 to "),
    refusal("optimizer.d_learning_rate", -1e-4, "give 0 to "),
    refusal("optimizer.g_learning_rate", math.nan, "give 0 to "),
    refusal("optimizer.d_learning_rate", math.inf, "give 0 to "),
    refusal("optimizer.orthogonal_regularization", -1.0, "give 0 to "),
    refusal("micro_batches", 0, "give 1 to "),
    refusal("replicas.batch_norm_group", -1, "give 0 to "),
    refusal("remedies.r1", -1.0, "give 0 to "),
    refusal("remedies.r2", -1.0, "give 0 to "),
    refusal("loss", "hing", "choose one of 'hinge'"),
    refusal("data.max_refused", 1.5, "give 0 to 1, such as 0.01"),
    refusal("remedies.d_dropout", 1.0, "below 1"),
    refusal("remedies.g_clamp", -1.0, "give 0 to "),
    refusal("remedies.lecam", math.nan, "give 0 to "),
    refusal("augmentation", "color,flip", "'flip' is none of color, translation, cutout"),
    refusal("optimizer.beta1", 1.0, "below 1"),
    refusal("optimizer.beta2", -0.1, "give 0 or more"),
    refusal("optimizer.epsilon", 0.0, "such as 1e-08"),
    refusal("ema.decay", 1.0, "below 1"),
    refusal("ema.start_step", -1, "give 0 or more"),
    refusal("data.source", "", "tfds:imagenet2012"),
    refusal("data.split", "", "train"),
    refusal("replicas.mapping", "vmap", "choose one of 'pmap', 'shard_map'"),
    refusal("sampling.standing_passes", 0, "give 1 to "),
    refusal("sampling.batch_size", 0, "give 1 to "),
    refusal("sampling.samples_per_class", 0, "give 1 to "),
    refusal("sampling.max_classes", 0, "give 1 to "),
    refusal("sampling.truncation", -0.5, "give 0 to "),
    refusal("sampling.truncation", 0.5, "give 0 with 'uniform'", model__latent_distribution="uniform"),
    refusal("checkpoints.keep", 0, "give 1 to "),
    refusal("checkpoints.best", -1, "give 0 to ", checkpoints__metric="d_loss"),
    refusal("checkpoints.best", 2, "config.checkpoints.metric='d_loss'"),
    refusal("checkpoints.metric", "fid@classifier", "give config.evaluation.every", checkpoints__best=1),
    refusal("evaluation.every", 250, "multiple of config.log_every = 100; give 200"),
    refusal("evaluation.num_samples", 1, "give 10 to "),
    refusal("evaluation.network", "", "such as 'classifier'"),
    refusal("checkpoints.keep_every", 1500, "multiple of config.checkpoint_every = 1000; give 2000"),
    refusal("checkpoints.keep_every", 1000, "there are no checkpoints to keep", checkpoint_every=0),
    refusal("steps_per_call", 0, "give 1 to "),
    refusal("sample_every", 10, "multiple of config.steps_per_call = 4; give 8", steps_per_call=4),
    refusal("checkpoint_every", 10, "multiple of config.steps_per_call = 4; give 8", steps_per_call=4),
    refusal("on_collapse", "restart", "choose one of 'stop', 'rollback'"),
    refusal("collapse.patience", 0, "give 1 or more"),
    refusal("collapse.sigma_ratio", 0.5, "give 1 to "),
    refusal("collapse.d_loss_ceiling", 0.0, "above 0"),
    refusal("collapse.g_rate_factor", 0.0, "above 0"),
    refusal(
        "collapse.rollback_checkpoints",
        4,
        "only config.checkpoints.keep = 3 stay",
        on_collapse="rollback",
        checkpoint_every=10,
    ),
]


@pytest.mark.parametrize(("name", "field", "value", "others", "remedy"), REFUSALS)
def test_impossible_value_is_refused_with_field_value_and_remedy(name, field, value, others, remedy):
    (problem,) = problems(load(name, **others, **{field: value}))
    says = f"config.{field} = {value!r}: "
    assert problem.startswith(says)
    assert remedy in problem.removeprefix(says)


def test_widths_that_attention_or_bottlenecks_cannot_divide_are_refused():
    (problem,) = problems(load("imagenet128", model__channels=6))
    assert problem.startswith("config.model.channels") and "divisible by 8, not 12" in problem
    (problem,) = problems(load("imagenet128_deep", model__channels=6, model__attention_resolution=0))
    assert problem.startswith("config.model.channels") and "divisible by 4, not" in problem


def test_batch_that_replicas_cannot_share_is_refused():
    config = load("cifar10")
    validate(config, replicas=2)
    (problem,) = problems(config, replicas=4)
    assert problem == (
        "config.batch_size = 50: the batch is divided among 4 replicas (devices), and on each into 1 "
        "micro-batches: it must be a multiple of 4; give 48, for example"
    )
    (problem,) = problems(config, replicas=128)
    assert "give 128" in problem
    validate(load("cifar10", micro_batches=5), replicas=2)
    (problem,) = problems(load("cifar10", micro_batches=5), replicas=4)
    assert "give 40" in problem


def test_batch_norm_groups_that_do_not_fit_the_replicas_are_refused():
    config = load("imagenet128", batch_size=64, micro_batches=2)
    for group in (0, 2, 4, 8, 16, 32):
        config.replicas.batch_norm_group = group
        validate(config, replicas=4)
    config.replicas.batch_norm_group = 12  # 8 images on a replica, 32 in a micro-batch
    (problem,) = problems(config, replicas=4)
    assert problem.startswith("config.replicas.batch_norm_group = 12") and "give 8" in problem


def test_all_problems_are_reported_at_once():
    config = load(
        "imagenet128", batch_size=7, optimizer__beta1=2.0, model__dtype="half", model__latent_dim=121
    )
    found = problems(config, replicas=2)
    assert found[0] == "the config has 4 problems:"
    fields = sorted(line.partition(" = ")[0] for line in found[1:])
    assert fields == [
        "config.batch_size",
        "config.model.dtype",
        "config.model.latent_dim",
        "config.optimizer.beta1",
    ]


def test_values_at_the_edge_are_accepted():
    validate(
        load(
            "imagenet128",
            seed=2**32 - 1,
            sample_every=0,
            checkpoint_every=0,
            model__attention_resolution=0,
            optimizer__g_learning_rate=0.0,
            optimizer__orthogonal_regularization=0.0,
            ema__decay=0.0,
            data__source="tfds:own",
            model__num_classes=1,
        ),
        replicas=2048,
    )


def test_misspelt_field_in_a_config_file_is_an_error():
    with pytest.raises(AttributeError, match="total_steps"):
        default_config().total_step = 3


def test_unknown_missing_and_mistyped_fields_are_refused():
    config = default_config().unlock()
    config.bach_size = 3
    config.extra = ConfigDict({"a": 1, "b": {"c": 2}})
    del config.ema.decay
    with config.ignore_type():
        config.d_steps = 2.5
        config.data.random_flip = 1
        config.model.generator_channels = (1, "2")
    found = problems(config)
    assert "config.bach_size is not a field; did you mean config.batch_size?" in found
    assert "config.ema.decay is missing: start from biggan_jax.config.default_config()" in found
    assert "config.d_steps = 2.5: give a whole number" in found
    assert "config.data.random_flip = 1: give True or False" in found
    assert any(line.startswith("config.model.generator_channels = (1, '2'): give a tuple") for line in found)
    assert sum("config.extra" in line for line in found) == 1
    assert len(found) == 1 + 6


def test_every_field_has_a_section_a_valid_default_and_a_sentence():
    for name, field in FIELDS.items():
        assert name.rpartition(".")[0] in SECTIONS
        assert field.allowed.remedy(field.default, field.default) is None
        assert field.meaning[0].isupper() or field.meaning[0] == "γ" or field.meaning[0].isdigit()
        assert field.meaning.endswith(".")


@pytest.mark.parametrize(
    ("allowed", "text", "good", "bad"),
    [
        (Number(minimum=1), "1 or more", [1, 10**9], [0, -1, math.inf, math.nan]),
        (Number(above=0), "a number above 0", [1e-30], [0, -1, math.inf, math.nan]),
        (Number(minimum=0, below=1), "0 or more, below 1", [0, 0.999], [1, -0.1]),
        (Number(minimum=0, maximum=1_000), "0 to 1,000", [0, 1_000], [1_000.1]),
        (Number(minimum=0, below=2**32), "0 or more, below 2**32", [2**32 - 1], [2**32]),
        (Choice(("a", "b")), "one of 'a', 'b'", ["a"], ["", "c"]),
    ],
)
def test_the_described_range_is_the_one_that_is_checked(allowed, text, good, bad):
    assert str(allowed) == text
    assert all(allowed.remedy(value, good[0]) is None for value in good)
    assert all(allowed.remedy(value, good[0]) for value in bad)
