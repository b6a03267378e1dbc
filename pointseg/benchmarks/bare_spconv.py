"""The plainest way to train the same network in spconv: what our own way of using it is held against.

Written as one would with spconv's own modules at hand, and with nothing of ours: the layers of SpUNet-34, plain
cross-entropy, SGD, PyTorch's mixed precision. No center branch, no folding, no fused update.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from pointseg import sparse
from pointseg.config import Config, ModelConfig
from pointseg.data.batch import Batch
from pointseg.engine.network import autocast
from pointseg.errors import UsageError
from pointseg.models.unet import UNetSize, choose_size
from pointseg.sparse import padded_spatial_shape
from pointseg.taxonomy import IGNORE, load_taxonomy


class _Block(nn.Module):
    def __init__(self, library: Any, in_channels: int, out_channels: int, key: str) -> None:
        super().__init__()
        self.conv1 = library.SubMConv3d(in_channels, out_channels, 3, padding=1, bias=False, indice_key=key)
        self.bn1 = nn.BatchNorm1d(out_channels, eps=1e-3, momentum=0.01)
        self.conv2 = library.SubMConv3d(out_channels, out_channels, 3, padding=1, bias=False, indice_key=key)
        self.bn2 = nn.BatchNorm1d(out_channels, eps=1e-3, momentum=0.01)
        self.proj = nn.Identity()
        if in_channels != out_channels:
            self.proj = _norm(library, library.SubMConv3d(in_channels, out_channels, 1, bias=False), relu=False)

    def forward(self, x: Any) -> Any:
        y = self.conv1(x)
        y = y.replace_feature(F.relu(self.bn1(y.features)))
        y = self.conv2(y)
        y = y.replace_feature(self.bn2(y.features))
        return y.replace_feature(F.relu(y.features + self.proj(x).features))


def _size_of(model: ModelConfig) -> UNetSize:
    return choose_size(
        model.name, stem_channels=model.stem_channels, channels=model.channels, layers=model.layers, width=model.width
    )


def _norm(library: Any, convolution: Any, relu: bool = True) -> Any:
    norm = nn.BatchNorm1d(convolution.out_channels, eps=1e-3, momentum=0.01)
    return library.SparseSequential(convolution, norm, *([nn.ReLU()] if relu else []))


class BareUNet(nn.Module):
    """The layers of :class:`pointseg.models.SparseUNet`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        library = sparse.backend("spconv")
        stem, channels, layers = _size_of(config.model)
        self.make_tensor = library.SparseConvTensor
        self.num_stages = stages = len(channels) // 2
        self.stem = _norm(
            library, library.SubMConv3d(config.in_channels, stem, 5, padding=1, bias=False, indice_key="stem")
        )
        self.down, self.enc, self.up, self.dec = (nn.ModuleList() for _ in range(4))
        skips = [stem, *channels[:stages]]
        for s in range(stages):
            down = library.SparseConv3d(skips[s], channels[s], 2, stride=2, bias=False, indice_key=f"down{s}")
            self.down.append(_norm(library, down))
            blocks = [_Block(library, channels[s], channels[s], f"level{s + 1}") for _ in range(layers[s])]
            self.enc.append(nn.Sequential(*blocks))
        width = channels[stages - 1]
        for s in reversed(range(stages)):
            out = channels[2 * stages - 1 - s]
            up = library.SparseInverseConv3d(width, out, 2, bias=False, indice_key=f"down{s}")
            self.up.append(_norm(library, up))
            widths = [out + skips[s], *[out] * layers[2 * stages - 1 - s]]
            blocks = [_Block(library, a, out, f"level{s}") for a in widths[:-1]]
            self.dec.append(nn.Sequential(*blocks))
            width = out
        self.final = library.SubMConv3d(width, load_taxonomy(config.taxonomy).num_classes, 1, bias=True)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Logits (M, K) of a batch."""
        shape = padded_spatial_shape(batch.extent, self.num_stages)
        x = self.stem(self.make_tensor(batch.features, batch.coords, list(shape), batch.num_scenes))
        skips = []
        for down, blocks in zip(self.down, self.enc, strict=True):
            skips.append(x)
            x = blocks(down(x))
        for up, blocks in zip(self.up, self.dec, strict=True):
            x = up(x)
            x = blocks(x.replace_feature(torch.cat([x.features, skips.pop().features], dim=1)))
        return self.final(x).features


def check_coarsest_level(config: Config, scenes: Sequence[torch.Tensor]) -> None:
    """Find out before anything is measured whether the network can train on voxels.

    Args:
        config: of the network.
        scenes: voxels (M, 3) of each scene of the batch.

    Raises:
        UsageError: at the coarsest level there is one voxel, and PyTorch's batch norm refuses to take its statistics.
    """
    num_halvings = len(_size_of(config.model).channels) // 2
    if sum(len((coords >> num_halvings).unique(dim=0)) for coords in scenes) < 2:
        raise UsageError(
            "bare_spconv: can't train where a batch has a single voxel at the coarsest level; give larger scenes "
            "(--voxels, --scene), more of them (--scenes), or other --backends"
        )


class BareTrainingStep:
    """As :class:`pointseg.benchmarks.training.TrainingStep`."""

    def __init__(self, config: Config, device: torch.device, batch: Batch, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.device, self.batch = device, batch.to(device)
        self.amp = "none" if config.train.amp == "none" else "fp16"  # spconv has no bfloat16
        self.network = BareUNet(config).to(device).train()
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), lr=config.optimizer.lr, momentum=0.9, nesterov=True, weight_decay=1e-4
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.amp == "fp16" and device.type == "cuda")

    def run(self) -> None:
        """Forward, backward, update."""
        self.optimizer.zero_grad()
        with autocast(self.amp, self.device):
            loss = F.cross_entropy(self.network(self.batch), self.batch.labels, ignore_index=IGNORE)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()


class BarePrediction:
    """As :class:`pointseg.benchmarks.training.PredictionStep`."""

    def __init__(self, config: Config, device: torch.device, batch: Batch, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.batch = batch.to(device)
        self.network = BareUNet(config).to(device).eval()
        if config.inference.amp != "none" and device.type == "cuda":
            # Under autocast spconv predicts with some layers in float16 and some not, and fails; this is its way.
            self.network.half()
            self.batch = replace(self.batch, features=self.batch.features.half())

    def run(self) -> None:
        """The forward pass."""
        with torch.inference_mode():
            self.network(self.batch)
