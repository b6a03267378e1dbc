"""Volt, the Volume Transformer: a plain transformer whose words are cubes of 5x5x5 voxels (arXiv 2604.19609, 2026).

A patch of voxels becomes a token, the tokens of a scene attend to each other, and each voxel is read from its patch's
token by a linear map of its own place in the patch. Names of weights are those of the published files.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from pointseg.config import ModelConfig
from pointseg.models.network import Extent, Network, NetworkOutput
from pointseg.models.unet import make_norm

PATCH_SIZE = 5
"""Voxels along the edge of a patch."""
HEAD_CHANNELS = 64
"""Channels of an attention head; the frequencies of the rotary encoding share them."""
NUM_PLACES = PATCH_SIZE**3
"""Voxels of a patch."""
_PAIRS_OF_AXIS = (12, 12, 8)
"""Pairs of a head's channels that turn with x, y and z."""
_SLOWEST_TURN = 1 / 100
"""Radians a patch of the slowest frequency of an axis; the fastest turns by 1."""
_MLP_RATIO = 4


class VoltSize(NamedTuple):
    """What decides how large a :class:`Volt` is; the names are those of its arguments."""

    dim: int
    depth: int
    decoder_channels: int


SIZES = {"volt_s": VoltSize(384, 12, 128), "volt_b": VoltSize(768, 12, 256)}


def build_volt(model: ModelConfig, in_channels: int, num_classes: int, backend: str) -> "Volt":
    """The network of a config; it has no sparse convolutions and so no ``backend``.

    Raises:
        ValueError: the sizes do not fit, or are a U-Net's.
    """
    named = SIZES[model.name]
    foreign = [key for key in ("stem_channels", "channels", "layers") if getattr(model, key) is not None]
    foreign += ["width"] if model.width != 1 else []
    if foreign:
        raise ValueError(f"{model.name} has no {', '.join(foreign)}; set dim, depth and decoder_channels instead")
    return Volt(
        in_channels,
        num_classes,
        named.dim if model.dim is None else model.dim,
        named.depth if model.depth is None else model.depth,
        named.decoder_channels if model.decoder_channels is None else model.decoder_channels,
        drop_path=model.drop_path,
        checkpoint_activations=model.checkpoint_activations,
    )


class Patches(NamedTuple):
    """The occupied patches of a batch, in the order of (batch, x, y, z)."""

    position: Tensor
    """(T, 3) int64, patches."""
    num_of_scene: list[int]
    """Tokens of each scene; they lie one scene after the other."""
    scene: Tensor
    """(T,) int64."""
    token_of_voxel: Tensor
    """(M,) int64: rows of ``position``."""
    place_of_voxel: Tensor
    """(M,) int64, 0..124: x·25 + y·5 + z within the patch."""


def find_patches(coords: Tensor, batch_size: int, spatial_shape: Extent) -> Patches:
    """Which patch each voxel is in.

    Args:
        coords: (M, 4) int32 (batch, x, y, z), not negative.
        batch_size: number of scenes.
        spatial_shape: larger than the coordinates on each axis.
    """
    num_x, num_y, num_z = (-(-size // PATCH_SIZE) for size in spatial_shape)
    patch = coords[:, 1:].div(PATCH_SIZE, rounding_mode="floor")
    inside = (coords[:, 1:] - patch * PATCH_SIZE).long()
    place = (inside[:, 0] * PATCH_SIZE + inside[:, 1]) * PATCH_SIZE + inside[:, 2]
    # One number a patch: `unique` of rows is many times slower.
    x, y, z = patch.long().unbind(1)
    key, token_of_voxel = (((coords[:, 0] * num_x + x) * num_y + y) * num_z + z).unique(return_inverse=True)
    position = torch.stack([key // (num_y * num_z) % num_x, key // num_z % num_y, key % num_z], dim=1)
    scene = key // (num_x * num_y * num_z)
    num_of_scene = torch.bincount(scene, minlength=batch_size).tolist()
    return Patches(position, num_of_scene, scene, token_of_voxel, place)


class Tokenizer(nn.Module):
    """A patch's voxels side by side, zeros where there are none, through one linear map: (M, C) -> (T, D)."""

    def __init__(self, in_channels: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(NUM_PLACES * in_channels, dim)

    def forward(self, features: Tensor, patches: Patches) -> Tensor:
        """Tokens (T, D) of voxels (M, C)."""
        num_tokens, num_channels = len(patches.position), features.shape[1]
        row = patches.token_of_voxel * NUM_PLACES + patches.place_of_voxel
        volume = features.new_zeros(num_tokens * NUM_PLACES, num_channels).index_copy(0, row, features)
        return self.proj(volume.view(num_tokens, NUM_PLACES * num_channels))


def rotary_angles(position: Tensor) -> Tensor:
    """(T, 32) float32: by how much each pair of a head's channels turns at each position (T, 3) in patches.

    Axis by axis, position times 100^-linspace(0, 1, n). It is not trained, and not stored.
    """
    turns = []
    for axis, num_pairs in enumerate(_PAIRS_OF_AXIS):
        exponent = torch.linspace(0, 1, num_pairs, device=position.device)
        turns.append(position[:, axis, None].float() * _SLOWEST_TURN**exponent)
    return torch.cat(turns, dim=1)


def turn_pairs(channels: Tensor, angles: Tensor) -> Tensor:
    """Turn adjacent pairs (a, b) of channels: (a cos - b sin, a sin + b cos); Su et al., "RoFormer" (2021), eq. 34.

    Args:
        channels: (T, H, 64) floating point.
        angles: (T, 32) float32.

    Returns:
        (T, H, 64), float32 at least.
    """
    channels = channels.to(torch.promote_types(channels.dtype, torch.float32))
    even, odd = channels[..., 0::2], channels[..., 1::2]
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


class Attention(nn.Module):
    """softmax(q kᵀ / 8) v between all tokens of a scene, with q and k normalised and turned by their position."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.num_heads = dim // HEAD_CHANNELS
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm = nn.LayerNorm(HEAD_CHANNELS)
        self.k_norm = nn.LayerNorm(HEAD_CHANNELS)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, angles: Tensor, num_of_scene: list[int]) -> Tensor:
        """(T, D) of tokens (T, D)."""
        q, k, v = self.qkv(tokens).unflatten(1, (3, self.num_heads, HEAD_CHANNELS)).unbind(1)
        # Positions are told apart in float32; the products are in the precision of the rest.
        q = turn_pairs(self.q_norm(q), angles).to(v.dtype)
        k = turn_pairs(self.k_norm(k), angles).to(v.dtype)
        scenes = zip(*(part.split(num_of_scene) for part in (q, k, v)), strict=True)
        # Scene by scene, so that nothing is padded, and PyTorch has kernels whose memory grows with T alone. They want
        # (batch, heads, tokens, channels).
        attended = [
            F.scaled_dot_product_attention(*(part.transpose(0, 1)[None] for part in scene))[0].transpose(0, 1)
            for scene in scenes
        ]
        return self.proj(torch.cat(attended).flatten(1))


class Mlp(nn.Module):
    """fc2(GELU(fc1(x))), four times as wide inside."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, _MLP_RATIO * dim)
        self.fc2 = nn.Linear(_MLP_RATIO * dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """(T, D) of tokens (T, D)."""
        return self.fc2(F.gelu(self.fc1(tokens)))


class VoltBlock(nn.Module):
    """x + attention(norm1(x)), then x + mlp(norm2(x))."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim)

    def forward(self, tokens: Tensor, angles: Tensor, num_of_scene: list[int], keep: Tensor | None = None) -> Tensor:
        """(T, D) of tokens (T, D); ``keep`` (T, 2) is a factor on what each of the two branches adds."""
        attended = self.attn(self.norm1(tokens), angles, num_of_scene)
        tokens = tokens + (attended if keep is None else attended * keep[:, :1])
        changed = self.mlp(self.norm2(tokens))
        return tokens + (changed if keep is None else changed * keep[:, 1:])


class Unembedding(nn.Module):
    """Each voxel's own linear map of its patch's token: the slice of its place, and one bias for all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, NUM_PLACES * channels, bias=False)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, tokens: Tensor, patches: Patches) -> Tensor:
        """(M, U) of tokens (T, U), a product for each place: of all 125, most voxels of a patch are empty."""
        order = patches.place_of_voxel.argsort(stable=True)
        num_of_place = torch.bincount(patches.place_of_voxel, minlength=NUM_PLACES).tolist()
        rows = tokens[patches.token_of_voxel[order]].split(num_of_place)
        maps = self.proj.weight.unflatten(0, (NUM_PLACES, -1)).unbind(0)
        # Under autocast, F.linear also takes a bias in its own precision; one addition serves all places.
        by_place = torch.cat([F.linear(row, map_) for row, map_ in zip(rows, maps, strict=True)])
        return torch.empty_like(by_place).index_copy(0, order, by_place) + self.bias


class Decoder(nn.Module):
    """Tokens (T, D) to the last features (M, U) of the voxels."""

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        narrow = nn.Linear(dim, channels, bias=False)
        self.pre = nn.Sequential(make_norm(dim), nn.GELU(), narrow, make_norm(channels), nn.GELU())
        self.unembed = Unembedding(channels)
        self.post = nn.Sequential(make_norm(channels), nn.GELU())

    def forward(self, tokens: Tensor, patches: Patches) -> Tensor:
        """(M, U) of tokens (T, D)."""
        return self.post(self.unembed(self.pre(tokens), patches))


class Volt(Network):
    """Patches to tokens, pre-norm transformer blocks, tokens to voxels, and a linear classifier.

    The published networks are ``SIZES["volt_s"]`` (23,709,384 parameters with 6 inputs and 200 classes) and
    ``SIZES["volt_b"]`` (94,077,128). Attention is over a whole scene: time grows with the square of its patches,
    memory does not where PyTorch has a flash kernel, as on a CPU and, in half precision, on a GPU.

    Args:
        in_channels: features a voxel.
        num_classes: logits a voxel.
        dim: D, channels of a token, a multiple of 64.
        depth: blocks.
        decoder_channels: U, last features of a voxel.
        drop_path: chance that the last block's branches are left out for a scene in training, rising linearly from 0
            at the first (Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016).
        checkpoint_activations: whether training keeps only the tokens between blocks, and computes what is in a block
            again in the backward pass.

    Raises:
        ValueError: ``dim`` is no multiple of 64, or a count is not positive.
    """

    coarsest_voxel = PATCH_SIZE
    context = 10  # patches: 1 m at 2 cm. What lies beyond is a matter of the room, of which a tile shows the most part.
    classifier_prefix = "head."

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        dim: int = 384,
        depth: int = 12,
        decoder_channels: int = 128,
        drop_path: float = 0.3,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        if dim < 1 or dim % HEAD_CHANNELS:
            raise ValueError(f"dim: expected a multiple of {HEAD_CHANNELS}, the channels of a head, got {dim}")
        if min(in_channels, num_classes, depth, decoder_channels) < 1:
            raise ValueError("in_channels, num_classes, depth and decoder_channels: expected at least 1 of each")
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.feature_channels = decoder_channels
        self.checkpoint_activations = checkpoint_activations
        self.drop_path = [drop_path * index / max(1, depth - 1) for index in range(depth)]
        self.tokenizer = Tokenizer(in_channels, dim)
        self.blocks = nn.ModuleList(VoltBlock(dim) for _ in range(depth))
        self.decoder = Decoder(dim, decoder_channels)
        self.head = nn.Linear(decoder_channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def classifier_weight(self) -> Tensor:
        """(K, D) on the CPU, as :meth:`Network.classifier_weight`."""
        return self.head.weight.detach().cpu()

    def forward(self, features: Tensor, coords: Tensor, batch_size: int, spatial_shape: Extent) -> NetworkOutput:
        """Logits and last features of each voxel; their order and the other scenes of the batch change nothing.

        Args:
            features: (M, in_channels) float32.
            coords: (M, 4) int32 (batch, x, y, z), not negative, each once, in any order.
            batch_size: number of scenes.
            spatial_shape: larger than the coordinates on each axis.

        Raises:
            ValueError: ``features`` is not (M, in_channels).
        """
        if features.dim() != 2 or features.shape[1] != self.in_channels:
            raise ValueError(f"features: expected (M, {self.in_channels}), got {tuple(features.shape)}")
        patches = find_patches(coords, batch_size, spatial_shape)
        angles = rotary_angles(patches.position)
        tokens = self.tokenizer(features, patches)
        for block, chance in zip(self.blocks, self.drop_path, strict=True):
            # Drawn here, so that a block that is computed again leaves out the same.
            keep = draw_kept(patches.scene, batch_size, chance) if self.training and chance else None
            if self.checkpoint_activations and self.training and torch.is_grad_enabled():
                arguments = (tokens, angles, patches.num_of_scene, keep)
                tokens = checkpoint(block, *arguments, use_reentrant=False, preserve_rng_state=False)
            else:
                tokens = block(tokens, angles, patches.num_of_scene, keep)
        last = self.decoder(tokens, patches)
        return NetworkOutput(self.head(last), last)


def draw_kept(scene: Tensor, batch_size: int, chance: float) -> Tensor:
    """(T, 2): for each token of a scene the same two factors, 0 with this chance, else what keeps their mean at 1."""
    kept = torch.rand(batch_size, 2, device=scene.device) >= chance
    return (kept / (1 - chance))[scene]
