"""The sequential container."""

from collections import OrderedDict

import torch
from torch import nn

from pointseg.sparse import SparseSequential, SubMConv3d
from tests.sparse.dense_reference import random_tensor


def test_sequential_gives_dense_modules_the_features_and_sparse_ones_the_tensor() -> None:
    tensor = random_tensor(30, (4, 4, 4), channels=2, dtype=torch.float32)
    conv, norm = SubMConv3d(2, 3, 3), nn.BatchNorm1d(3).eval()
    chain = SparseSequential(conv, norm, nn.ReLU(), SparseSequential(nn.Linear(3, 1)))
    expected = chain[3][0](torch.relu(norm(conv(tensor).features)))
    output = chain(tensor)
    assert torch.equal(output.features, expected)
    assert output.indices is tensor.indices


def test_sequential_names_its_parts_like_spconv() -> None:
    """Numbers by default, the names of an OrderedDict or of keywords otherwise; ``add`` goes on counting."""
    numbered = SparseSequential(nn.ReLU())
    numbered.add(nn.Identity())
    numbered.add(nn.Identity(), "last")
    assert [name for name, _ in numbered.named_children()] == ["0", "1", "last"]
    assert len(numbered) == 3
    assert isinstance(numbered[0], nn.ReLU)
    named = SparseSequential(OrderedDict(a=nn.ReLU(), b=nn.ReLU()))
    assert [name for name, _ in named.named_children()] == ["a", "b"]
    assert [name for name, _ in SparseSequential(c=nn.ReLU()).named_children()] == ["c"]
