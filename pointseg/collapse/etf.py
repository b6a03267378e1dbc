"""The simplex equiangular tight frame: K unit vectors, as far apart from each other as K vectors can be."""

import torch


def simplex_etf(num_classes: int, dim: int, seed: int = 0) -> torch.Tensor:
    """The vertices of a simplex ETF, one row a class.

        W* = sqrt(K/(K-1)) · U (I_K - (1/K) 1 1ᵀ),   UᵀU = I_K

    (Papyan et al. 2020; CeCo, CVPR 2023). Each row has unit length, each pair of rows has cosine
    -1/(K-1), and the rows sum to zero. The paper's U needs E >= K. The centred matrix has rank K-1, so
    E = K-1 is enough: we take an orthonormal basis H of the space orthogonal to 1, with
    H Hᵀ = I_K - (1/K) 1 1ᵀ, and turn it by Q, QᵀQ = I_{K-1}.

    Args:
        num_classes: K, at least 2.
        dim: E, at least K-1.
        seed: of the random rotation.

    Returns:
        (K, E) float32.

    Raises:
        ValueError: fewer than 2 classes, or E < K-1, which no simplex of K vertices fits in.
    """
    if num_classes < 2:
        raise ValueError(f"a simplex needs at least 2 classes, got {num_classes}")
    if dim < num_classes - 1:
        raise ValueError(
            f"a simplex of {num_classes} classes needs at least {num_classes - 1} dimensions, got {dim}; "
            f"lift the features to {num_classes - 1} or more with a projection"
        )
    generator = torch.Generator().manual_seed(seed)
    gaussian = torch.randn(dim, num_classes - 1, dtype=torch.float64, generator=generator)
    rotation, _ = torch.linalg.qr(gaussian)
    scale = (num_classes / (num_classes - 1)) ** 0.5
    return (scale * _centred_basis(num_classes) @ rotation.T).float()


def _centred_basis(size: int) -> torch.Tensor:
    """(K, K-1) float64: orthonormal columns, each with sum zero (Helmert's matrix without its constant row)."""
    column = torch.arange(1, size, dtype=torch.float64)
    above = torch.ones(size, size - 1, dtype=torch.float64).triu()
    below = torch.diag_embed(column, offset=-1)[:, : size - 1]
    return (above - below) / (column * (column + 1)).sqrt()
