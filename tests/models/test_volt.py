"""Volt: its published shape, each part against a literal version, and what must not change its output."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pointseg.config import load_config
from pointseg.errors import UsageError
from pointseg.models import build_network
from pointseg.models.volt import (  # fmt: skip
    SIZES,
    Attention,
    Decoder,
    Tokenizer,
    Volt,
    VoltBlock,
    draw_kept,
    find_patches,
    rotary_angles,
    turn_pairs,
)
from tests.sparse.dense_reference import random_voxels

SHAPE = (23, 16, 12)


def small_network(**changes: object) -> Volt:
    """Two heads and three blocks, with weights that matter and batch norms that have seen something."""
    torch.manual_seed(0)
    network = Volt(4, 5, **{"dim": 128, "depth": 3, "decoder_channels": 16, **changes})  # type: ignore[arg-type]
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2)
            elif value.is_floating_point():
                value.add_(torch.randn_like(value) * 0.1)
    return network.eval()


def make_scene(num_voxels: int = 600, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features (M, 4) and coordinates (M, 4) of one scene."""
    coords = random_voxels(num_voxels, SHAPE, seed=seed)
    return torch.randn(num_voxels, 4, generator=torch.Generator().manual_seed(seed)), coords


@pytest.mark.parametrize(("name", "num_parameters"), [("volt_s", 23_709_384), ("volt_b", 94_077_128)])
def test_a_named_network_has_the_published_parameters(name: str, num_parameters: int) -> None:
    config = load_config("scannet200", [f"model.name={name}", "data.features=[rgb, normal]"])
    with torch.device("meta"):
        network = Volt(6, 200, **SIZES[name]._asdict())
    assert sum(parameter.numel() for parameter in network.parameters()) == num_parameters
    if name == "volt_s":
        built = build_network(config, torch.device("cpu"))
        assert {k: v.shape for k, v in built.state_dict().items()} == {
            k: v.shape for k, v in network.state_dict().items()
        }


def test_names_of_weights_are_the_published_ones() -> None:
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in Volt(6, 200, depth=2).state_dict().items()}
    linear, norm = ("weight", "bias"), ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    parts = {"norm1": linear, "norm2": linear, "attn.qkv": linear, "attn.proj": linear, "attn.q_norm": linear}
    parts |= {"attn.k_norm": linear, "mlp.fc1": linear, "mlp.fc2": linear}
    names = {f"blocks.{i}.{part}.{key}" for i in range(2) for part, keys in parts.items() for key in keys}
    names |= {f"{part}.{key}" for part in ("tokenizer.proj", "head") for key in linear}
    names |= {f"decoder.{part}.{key}" for part in ("pre.0", "pre.3", "post.0") for key in norm}
    assert shapes.keys() == names | {"decoder.pre.2.weight", "decoder.unembed.proj.weight", "decoder.unembed.bias"}
    assert shapes["tokenizer.proj.weight"] == (384, 750)
    assert shapes["decoder.unembed.proj.weight"] == (16_000, 128)
    assert shapes["blocks.1.attn.q_norm.weight"] == (64,)


def test_patches_are_cubes_of_five_in_order() -> None:
    coords = torch.tensor([[1, 4, 9, 0], [0, 5, 0, 11], [1, 0, 5, 4], [0, 9, 4, 14]]).int()
    patches = find_patches(coords, 3, (10, 10, 15))
    assert patches.position.tolist() == [[1, 0, 2], [0, 1, 0]]
    assert patches.num_of_scene == [1, 1, 0]
    assert patches.scene.tolist() == [0, 1]
    assert patches.token_of_voxel.tolist() == [1, 0, 1, 0]
    assert patches.place_of_voxel.tolist() == [4 * 25 + 4 * 5, 1, 4, 4 * 25 + 4 * 5 + 4]


@torch.no_grad()
def test_a_token_is_the_linear_map_of_a_dense_patch() -> None:
    features, coords = make_scene()
    tokenizer = Tokenizer(4, 32)
    patches = find_patches(coords, 1, SHAPE)
    tokens = tokenizer(features, patches)
    for token, position in enumerate(patches.position.tolist()):
        dense = torch.zeros(5, 5, 5, 4)
        for feature, (_, *voxel) in zip(features, coords.tolist(), strict=True):
            if [axis // 5 for axis in voxel] == position:
                dense[voxel[0] % 5, voxel[1] % 5, voxel[2] % 5] = feature
        torch.testing.assert_close(tokens[token], tokenizer.proj(dense.flatten()), rtol=1e-4, atol=1e-5)


def test_pairs_turn_by_position_times_frequency() -> None:
    """Pair by pair, from the formula; x has the first 12 pairs, y the next 12, z the last 8."""
    position = torch.tensor([[3, 0, 7], [0, 20, 1]])
    channels = torch.randn(2, 2, 64)
    turned = turn_pairs(channels, rotary_angles(position))
    pairs = [(axis, i, n) for axis, n in enumerate((12, 12, 8)) for i in range(n)]
    for token in range(2):
        for pair, (axis, i, n) in enumerate(pairs):
            angle = int(position[token, axis]) * 100 ** -(i / (n - 1))
            a, b = channels[token, :, 2 * pair], channels[token, :, 2 * pair + 1]
            expected = torch.stack(
                [a * math.cos(angle) - b * math.sin(angle), a * math.sin(angle) + b * math.cos(angle)]
            )
            torch.testing.assert_close(turned[token, :, 2 * pair : 2 * pair + 2].T, expected, rtol=1e-4, atol=1e-5)


def test_positions_are_told_apart_in_float32() -> None:
    """In half precision, positions beyond 2,048 patches would be rounded."""
    angles = rotary_angles(torch.tensor([[2_049, 0, 0]]))
    assert angles.dtype == torch.float32
    assert float(angles[0, 0]) == 2_049
    assert turn_pairs(torch.ones(1, 1, 64).half(), angles).dtype == torch.float32


@torch.no_grad()
def test_attention_is_softmax_over_the_tokens_of_a_scene() -> None:
    torch.manual_seed(0)
    attention = Attention(128)
    tokens, position = torch.randn(9, 128), torch.randint(0, 9, (9, 3))
    output = attention(tokens, rotary_angles(position), [4, 0, 5])
    expected = torch.empty(9, 128)
    for rows in (range(4), range(4, 9)):
        for head in range(2):
            here = slice(64 * head, 64 * (head + 1))
            q, k, v = (part[:, here] for part in attention.qkv(tokens).split(128, dim=1))
            q, k = F.layer_norm(q, (64,)), F.layer_norm(k, (64,))
            q, k = (turn_pairs(part[:, None], rotary_angles(position))[:, 0] for part in (q, k))
            for row in rows:
                share = torch.stack([q[row] @ k[other] / 8 for other in rows]).softmax(0)
                expected[row, here] = sum(s * v[other] for s, other in zip(share, rows, strict=True))
    torch.testing.assert_close(output, attention.proj(expected), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_block_adds_attention_and_then_its_mlp() -> None:
    torch.manual_seed(0)
    block = VoltBlock(64)
    tokens, angles = torch.randn(6, 64), rotary_angles(torch.randint(0, 9, (6, 3)))
    middle = tokens + block.attn(F.layer_norm(tokens, (64,)), angles, [6])
    inside = F.layer_norm(middle, (64,)) @ block.mlp.fc1.weight.T + block.mlp.fc1.bias
    expected = middle + F.gelu(inside) @ block.mlp.fc2.weight.T + block.mlp.fc2.bias
    torch.testing.assert_close(block(tokens, angles, [6]), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_voxel_is_read_by_the_map_of_its_own_place() -> None:
    decoder = small_network().decoder
    _, coords = make_scene(200)
    patches = find_patches(coords, 1, SHAPE)
    tokens = torch.randn(len(patches.position), 128)
    output = decoder(tokens, patches)
    narrow = decoder.pre(tokens)
    maps = decoder.unembed.proj.weight.view(5, 5, 5, 16, 16)
    for row, (_, x, y, z) in enumerate(coords.tolist()):
        token = narrow[int(patches.token_of_voxel[row])]
        read = maps[x % 5, y % 5, z % 5] @ token + decoder.unembed.bias
        torch.testing.assert_close(output[row], decoder.post(read[None])[0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_batch_norms_of_the_decoder_are_the_published_ones() -> None:
    norms = [module for module in Decoder(64, 8).modules() if isinstance(module, torch.nn.BatchNorm1d)]
    assert [(norm.eps, norm.momentum) for norm in norms] == [(1e-3, 0.01)] * 3


@torch.no_grad()
def test_output_is_logits_and_the_features_they_come_from() -> None:
    network = small_network()
    output = network(*make_scene(), 1, SHAPE)
    assert output.features.shape == (600, network.feature_channels)
    torch.testing.assert_close(output.logits, output.features @ network.classifier_weight().T + network.head.bias)


@torch.no_grad()
def test_neither_order_nor_other_scenes_matter() -> None:
    network = small_network()
    scenes = [make_scene(seed=0), make_scene(300, seed=1), make_scene(1, seed=2)]
    features = torch.cat([scene[0] for scene in scenes])
    coords = torch.cat([scene[1] + torch.tensor([b, 0, 0, 0]).int() for b, scene in enumerate(scenes)])
    alone = torch.cat([network(*scene, 1, SHAPE).logits for scene in scenes])
    torch.testing.assert_close(network(features, coords, 3, SHAPE).logits, alone, rtol=1e-4, atol=1e-5)
    order = torch.randperm(len(coords), generator=torch.Generator().manual_seed(3))
    permuted = network(features[order], coords[order], 3, SHAPE).logits
    torch.testing.assert_close(permuted, alone[order], rtol=1e-4, atol=1e-5)
    assert (network(features, coords * torch.tensor([0, 1, 1, 1]).int(), 1, SHAPE).logits - alone).abs().max() > 1e-2


@torch.no_grad()
def test_a_move_by_whole_patches_changes_nothing() -> None:
    """Attention sees differences of positions alone; a move by one voxel makes other patches, so the test can fail."""
    network = small_network()
    features, coords = make_scene()
    logits = network(features, coords, 1, SHAPE).logits
    moved = network(features, coords + torch.tensor([0, 35, 10, 5]).int(), 1, (80, 40, 30)).logits
    torch.testing.assert_close(moved, logits, rtol=1e-3, atol=1e-4)
    cut = network(features, coords + torch.tensor([0, 1, 0, 0]).int(), 1, (80, 40, 30)).logits
    assert (cut - logits).abs().max() > 1e-2


def _step(network: Volt, seed: int = 0) -> dict[str, Tensor]:
    features, coords = make_scene(300)
    features.requires_grad_()
    torch.manual_seed(seed)
    output = network.train()(features, coords, 1, SHAPE)
    F.cross_entropy(output.logits, torch.arange(len(features)) % 5).backward()
    assert features.grad is not None
    grads = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    assert len(grads) == sum(1 for _ in network.parameters())
    return {"logits": output.logits, "input": features.grad, **grads, **dict(network.named_buffers())}


def test_checkpointed_blocks_have_the_same_gradients() -> None:
    """With blocks left out at random, too: the same ones in both passes. The seed leaves out at least one."""
    plain = _step(small_network(drop_path=0.5))
    checkpointed = _step(small_network(drop_path=0.5, checkpoint_activations=True))
    whole = _step(small_network(drop_path=0.0))
    for name, expected in plain.items():
        torch.testing.assert_close(checkpointed[name], expected, rtol=1e-4, atol=1e-6, msg=name)
    assert not torch.allclose(plain["logits"], whole["logits"])


def test_gradients_are_those_of_finite_differences() -> None:
    network = small_network(depth=1, dim=64).double()
    features, coords = make_scene(12)

    def total(*weights: Tensor) -> Tensor:
        named = dict(zip(names, weights, strict=True))
        output = torch.func.functional_call(network, named, (inputs, coords, 1, SHAPE))
        return (output.logits * torch.linspace(-1, 1, output.logits.numel()).view_as(output.logits).double()).sum()

    inputs = features.double()
    names = ["blocks.0.attn.q_norm.weight", "decoder.unembed.bias", "head.weight"]
    weights = [dict(network.named_parameters())[name].detach().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(total, weights, atol=1e-4)  # the angles are float32


def test_branches_are_left_out_for_whole_scenes_and_keep_their_mean() -> None:
    torch.manual_seed(0)
    scene = torch.arange(4_000).repeat_interleave(2)
    kept = draw_kept(scene, 4_000, 0.3)
    assert torch.equal(kept[0::2], kept[1::2])
    assert kept.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert float(kept.mean()) == pytest.approx(1, abs=0.03)
    assert Volt(4, 5, 64, 4, 8, drop_path=0.3).drop_path == pytest.approx([0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_is_near(dtype: torch.dtype) -> None:
    network = small_network()
    features, coords = make_scene()
    expected = network(features, coords, 1, SHAPE).logits
    with torch.autocast("cpu", dtype):
        logits = network(features, coords, 1, SHAPE).logits
    assert logits.dtype == dtype
    assert (logits.float() - expected).abs().mean() < 0.03 * expected.std()


def test_no_voxels_give_no_rows() -> None:
    network = small_network().train()
    output = network(torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.int32), 1, SHAPE)
    assert output.logits.shape == (0, 5)
    output.logits.sum().backward()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.dim=100"], "dim: expected a multiple of 64"),
        (["model.channels=[8, 8]"], "volt_s has no channels; set dim, depth and decoder_channels"),
        (["model.width=0.5"], "volt_s has no width"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(overrides: list[str], message: str) -> None:
    config = load_config("scannet200", ["model.name=volt_s", *overrides])
    with pytest.raises(UsageError, match=message):
        build_network(config, torch.device("cpu"))


def test_sizes_of_a_volt_are_refused_by_a_unet() -> None:
    config = load_config("scannet200", ["model.dim=128"])
    with pytest.raises(UsageError, match="spunet34 has no dim"):
        build_network(config, torch.device("cpu"))
