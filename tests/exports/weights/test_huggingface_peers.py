"""Folders that pytorch-pretrained-biggan itself writes, drawn from by the package and by us."""

import numpy as np
import pytest
from drawing import images_of

from biggan_jax.exports.weights.huggingface import read_huggingface

pytestmark = pytest.mark.peers

LAYERS = {
    128: [(16, 16), (16, 8), (8, 4), (4, 2), (2, 1)],
    256: [(16, 16), (16, 8), (8, 8), (8, 4), (4, 2), (2, 1)],
    512: [(16, 16), (16, 8), (8, 8), (8, 4), (4, 2), (2, 1), (1, 1)],
}


@pytest.mark.parametrize(
    "resolution, channels",
    [
        (128, 16),
        pytest.param(128, 128, marks=pytest.mark.slow),  # the published widths
        pytest.param(256, 128, marks=pytest.mark.slow),
        pytest.param(512, 128, marks=pytest.mark.slow),
    ],
)
def test_images_agree_with_the_package_at_truncations_of_its_grid(tmp_path, resolution, channels):
    import torch
    from pytorch_pretrained_biggan.config import BigGANConfig
    from pytorch_pretrained_biggan.model import BigGAN

    config = BigGANConfig(
        output_dim=resolution,
        channel_width=channels,
        layers=[[up, i, o if up else i] for i, o in LAYERS[resolution] for up in (False, True)],
        attention_layer_position=8,
    )
    torch.manual_seed(0)
    model = BigGAN(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in ("generator.bn.weight", "generator.bn.bias"):  # the package leaves them to chance
                parameter.normal_(1.0 * name.endswith("weight"), 0.3)
            elif name.endswith(("bias", "gamma")):
                parameter.add_(0.3 * torch.randn_like(parameter) + 0.5 * name.endswith("gamma"))
        for name, buffer in model.named_buffers():
            if name.endswith("running_means"):
                buffer.normal_(0, 0.3)
            elif name.endswith("running_vars"):
                buffer.uniform_(0.5, 2.0)
        # In training, each call takes one power iteration: then σ is near the largest singular value.
        model.train()
        one = torch.eye(config.num_classes)[:1]
        for _ in range(3):
            model(torch.randn(1, config.z_dim), one, 1.0)
        model.eval()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(config.to_json_string())

    imported = read_huggingface(tmp_path)
    assert imported.model.attention_resolution == 64
    assert imported.model.generator_channels == () and len(imported.statistics) == 51
    rng = np.random.default_rng(1)
    z, labels = np.float32(rng.normal(size=(1, config.z_dim))), np.array([207])
    before = 0.0
    for truncation in (0.02, 0.4, 1.0):
        with torch.no_grad():
            wanted = model(torch.from_numpy(z), torch.eye(config.num_classes)[labels], truncation)
        wanted = wanted.numpy().transpose(0, 2, 3, 1)
        assert np.std(wanted) < 0.95 and np.abs(wanted - before).mean() > 0.02
        before = wanted
        np.testing.assert_allclose(images_of(imported, z, labels, truncation), wanted, atol=1e-4)
