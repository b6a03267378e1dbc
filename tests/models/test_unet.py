"""The U-Net: its published shape, and what must not change its output."""

import pytest
import torch
from torch.nn import functional as F

from pointseg.models import NetworkOutput, SparseUNet
from pointseg.models.unet import choose_size
from pointseg.sparse import padded_spatial_shape
from tests.sparse.dense_reference import random_voxels

SHAPE = (48, 32, 32)


def small_network(**changes: object) -> SparseUNet:
    """Four stages as in the published network, but narrow; batch norms with statistics that matter."""
    torch.manual_seed(0)
    arguments = {"stem_channels": 6, "channels": (8, 8, 10, 12, 12, 10, 8, 6), "layers": (1, 2, 1, 1, 1, 1, 1, 2)}
    network = SparseUNet(4, 5, **{**arguments, **changes})  # type: ignore[arg-type]
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.01, 0.1)
    return network.eval()


def make_scene(num_voxels: int = 700, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (M, 4) and coordinates (M, 4) of one scene."""
    coords = random_voxels(num_voxels, (16, 16, 16), seed=seed)
    return torch.randn(num_voxels, 4, generator=torch.Generator().manual_seed(seed)), coords


def test_the_default_is_the_published_network() -> None:
    """39,187,304 parameters, the published keys and weight shapes, 96 last features."""
    network = SparseUNet(9, 200)
    assert sum(parameter.numel() for parameter in network.parameters()) == 39_187_304
    assert network.feature_channels == 96
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert {key.split(".")[0] for key in shapes} == {"conv_input", "down", "enc", "up", "dec", "final"}
    blocks = {key.rsplit(".", 2)[0] for key in shapes if key.startswith(("enc", "dec")) and ".proj." not in key}
    published = {f"enc.{s}.block{i}" for s, n in enumerate((2, 3, 4, 6)) for i in range(n)}
    assert blocks == published | {f"dec.{s}.block{i}" for s in range(4) for i in range(2)}
    assert {key.split(".proj.")[0] for key in shapes if ".proj." in key} == {f"dec.{s}.block0" for s in range(4)}
    norm = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    assert {key.removeprefix("dec.0.block0.") for key in shapes if key.startswith("dec.0.block0.")} == {
        *("conv1.weight", "conv2.weight", "proj.0.weight"),
        *(f"{name}.{part}" for name in ("bn1", "bn2", "proj.1") for part in norm),
    }
    assert shapes["conv_input.0.weight"] == (32, 5, 5, 5, 9)
    assert shapes["conv_input.1.weight"] == (32,)
    assert [shapes[f"down.{s}.0.weight"] for s in range(4)] == [
        (out, 2, 2, 2, inp) for inp, out in ((32, 32), (32, 64), (64, 128), (128, 256))
    ]
    assert [shapes[f"up.{s}.0.weight"] for s in range(4)] == [
        (out, 2, 2, 2, inp) for inp, out in ((96, 96), (128, 96), (256, 128), (256, 256))
    ]
    assert shapes["dec.0.block0.conv1.weight"] == (96, 3, 3, 3, 128)
    assert shapes["dec.3.block0.proj.0.weight"] == (256, 1, 1, 1, 384)
    assert shapes["final.weight"] == (200, 1, 1, 1, 96)
    assert shapes["final.bias"] == (200,)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm1d)]
    assert {(module.eps, module.momentum) for module in norms} == {(1e-3, 0.01)}


def test_weights_start_as_published() -> None:
    """Submanifold weights from a truncated normal of 0.02; strided ones uniform in +-1/sqrt(fan in); norms at 1, 0."""
    network = SparseUNet(9, 20)
    for weight in (network.conv_input[0].weight, network.enc[3]["block0"].conv1.weight, network.final.weight):
        assert 0.018 < weight.std() < 0.022
        assert abs(weight.mean()) < 0.002
    for layer, fan_in in ((network.down[3][0], 128 * 8), (network.up[3][0], 256 * 8)):
        assert 0.95 / fan_in**0.5 < layer.weight.abs().max() <= 1 / fan_in**0.5
    assert torch.equal(network.final.bias, torch.zeros(20))
    assert torch.equal(network.dec[0]["block1"].bn2.weight, torch.ones(96))


def test_output_is_logits_and_the_nonnegative_features_they_come_from() -> None:
    network = small_network()
    features, coords = make_scene()
    output = network(features, coords, 1, SHAPE)
    assert isinstance(output, NetworkOutput)
    assert output.logits.shape == (700, 5)
    assert output.features.shape == (700, 6)
    assert network.feature_channels == 6
    assert bool((output.features >= 0).all())
    expected = output.features @ network.final.weight.view(6, 5) + network.final.bias
    torch.testing.assert_close(output.logits, expected)


@torch.no_grad()
def test_a_move_by_sixteen_voxels_changes_nothing() -> None:
    """Four halvings: moves by multiples of 16 keep every cell whole; a move by 8 does not, so the test can fail."""
    network = small_network()
    features, coords = make_scene()
    logits = network(features, coords, 1, SHAPE).logits
    moved = network(features, coords + torch.tensor([0, 32, 16, 0]).int(), 1, SHAPE).logits
    torch.testing.assert_close(moved, logits, rtol=1e-4, atol=1e-5)
    cut = network(features, coords + torch.tensor([0, 8, 0, 0]).int(), 1, SHAPE).logits
    assert (cut - logits).abs().max() > 1e-3


@torch.no_grad()
def test_scenes_of_a_batch_equal_each_alone() -> None:
    network = small_network()
    scenes = [make_scene(seed=0), make_scene(300, seed=1), make_scene(1, seed=2)]
    features = torch.cat([scene[0] for scene in scenes])
    coords = torch.cat([scene[1] + torch.tensor([b, 0, 0, 0]).int() for b, scene in enumerate(scenes)])
    together = network(features, coords, 3, SHAPE).logits
    alone = torch.cat([network(*scene, 1, SHAPE).logits for scene in scenes])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_permuted_voxels_give_permuted_outputs() -> None:
    network = small_network()
    features, coords = make_scene()
    order = torch.randperm(len(coords), generator=torch.Generator().manual_seed(3))
    expected = network(features, coords, 1, SHAPE)
    output = network(features[order], coords[order], 1, SHAPE)
    torch.testing.assert_close(output.logits, expected.logits[order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.features, expected.features[order], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_padded_shape_keeps_every_voxel_and_a_larger_one_changes_nothing() -> None:
    network = small_network()
    features, coords = make_scene()
    extent = (coords[:, 1:].amax(0) + 1).tolist()
    shape = padded_spatial_shape(extent, network.num_stages)
    assert torch.equal(network(features, coords, 1, shape).logits, network(features, coords, 1, (64, 64, 64)).logits)


def test_gradient_reaches_every_parameter_and_the_input() -> None:
    network = small_network().train()
    features, coords = make_scene()
    features.requires_grad_()
    logits = network(features, coords, 1, SHAPE).logits
    F.cross_entropy(logits, torch.arange(700) % 5).backward()
    for name, parameter in [*network.named_parameters(), ("input", features)]:
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("num_voxels", [0, 1])
@pytest.mark.parametrize("training", [True, False])
def test_no_voxel_and_one_voxel(num_voxels: int, training: bool) -> None:
    """Finite outputs of the right shape, and a backward, even in training, where torch's batch norm refuses."""
    network = small_network().train(training)
    features, coords = torch.ones(num_voxels, 4), torch.zeros(num_voxels, 4, dtype=torch.int32)
    logits = network(features, coords, 1, SHAPE).logits
    assert logits.shape == (num_voxels, 5)
    logits.sum().backward()
    assert bool(torch.isfinite(logits).all())
    assert all(bool(torch.isfinite(parameter.grad).all()) for parameter in network.parameters())


@pytest.mark.parametrize("num_stages", [1, 2, 3])
def test_fewer_stages(num_stages: int) -> None:
    channels = (8, 12, 16)[:num_stages] + (16, 12, 8)[-num_stages:]
    network = SparseUNet(4, 5, stem_channels=4, channels=channels, layers=(1,) * (2 * num_stages)).eval()
    assert network.num_stages == num_stages
    features, coords = make_scene(100)
    assert network(features, coords, 1, SHAPE).logits.shape == (100, 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": (8, 8, 8)}, "same even number of each, .* got 3 and 8"),
        ({"layers": (1, 1)}, "same even number of each, .* got 8 and 2"),
        ({"channels": (), "layers": ()}, "got 0 and 0"),
        ({"layers": (1, 1, 1, 1, 1, 1, 1, 0)}, "numbers >= 1"),
        ({"stem_channels": 0}, "stem_channels: expected at least 1, got 0"),
    ],
)
def test_sizes_that_make_no_network_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_network(**changes)


def test_features_of_other_width_are_refused() -> None:
    _, coords = make_scene(10)
    with pytest.raises(ValueError, match=r"features: expected \(M, 4\), got \(10, 6\)"):
        small_network()(torch.zeros(10, 6), coords, 1, SHAPE)


@pytest.mark.parametrize(
    ("name", "num_parameters"), [("spunet14", 12_912_104), ("spunet18", 23_035_496), ("spunet34", 39_187_304)]
)
def test_sizes_have_names(name: str, num_parameters: int) -> None:
    network = SparseUNet(9, 200, **choose_size(name)._asdict())
    assert sum(parameter.numel() for parameter in network.parameters()) == num_parameters
    assert sum(key.endswith("conv1.weight") for key in network.state_dict()) == sum(choose_size(name).layers)


@pytest.mark.parametrize(
    ("width", "channels"),
    [
        (0.5, (16, 32, 64, 128, 128, 64, 48, 48)),
        (0.2, (8, 16, 24, 48, 48, 24, 16, 16)),
        (2.0, (64, 128, 256, 512, 512, 256, 192, 192)),
    ],
)
def test_a_width_scales_all_channels_to_multiples_of_eight(width: float, channels: tuple[int, ...]) -> None:
    size = choose_size("spunet18", width=width)
    assert size.channels == channels
    assert size.stem_channels == channels[0]
    assert size.layers == (2,) * 8


def test_what_is_given_goes_before_the_named_size() -> None:
    """And stays as it is without a width, multiple of eight or not."""
    size = choose_size("spunet34", channels=(10, 20, 20, 10), layers=(1, 1, 1, 1))
    assert size == (32, (10, 20, 20, 10), (1, 1, 1, 1))
    with pytest.raises(ValueError, match="spunet14, spunet18, spunet34, got 'spunet50'"):
        choose_size("spunet50")
    with pytest.raises(ValueError, match="width: expected a factor above 0, got 0"):
        choose_size("spunet34", width=0)
