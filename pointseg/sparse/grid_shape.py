"""How strided convolutions shrink the grid of voxels, and which grids lose no voxel on the way."""

from collections.abc import Sequence

Shape3 = tuple[int, int, int]


def conv_output_shape(
    spatial_shape: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Shape3:
    """Spatial shape after a strided convolution: ``(s + 2 p - d (k - 1) - 1) // stride + 1`` on each axis.

    Raises:
        ValueError: the kernel is larger than the padded grid, so no output is left.
    """
    axes = zip(spatial_shape, kernel_size, stride, padding, dilation, strict=True)
    x, y, z = ((s + 2 * p - d * (k - 1) - 1) // t + 1 for s, k, t, p, d in axes)
    if min(x, y, z) < 1:
        raise ValueError(
            f"kernel {tuple(kernel_size)}, stride {tuple(stride)} and padding {tuple(padding)} leaves nothing of the "
            f"spatial shape {tuple(spatial_shape)}; give a larger spatial shape"
        )
    return x, y, z


def padded_spatial_shape(extent: Sequence[int], num_stages: int) -> Shape3:
    """The smallest spatial shape in which ``num_stages`` halvings (kernel 2, stride 2) drop no voxel.

    spconv drops the last plane of an odd grid when it halves it, together with the voxels there. Where every
    axis is a multiple of ``2**num_stages``, every grid on the way down is even.

    Args:
        extent: three positive ints, one more than the largest voxel coordinate on each axis.
        num_stages: how many times the network halves the grid, >= 0.

    Returns:
        Each axis rounded up to a multiple of ``2**num_stages``.

    Raises:
        ValueError: an extent is not positive, there are not three of them, or ``num_stages`` is negative.
    """
    sizes = [int(size) for size in extent]
    if len(sizes) != 3 or min(sizes) < 1:
        raise ValueError(f"extent: expected three positive numbers of voxels, got {sizes}")
    if num_stages < 0:
        raise ValueError(f"num_stages: expected a number >= 0, got {num_stages}")
    step = 2**num_stages
    x, y, z = (-(-size // step) * step for size in sizes)
    return x, y, z
