"""The arithmetic of a sparse convolution: gather rows, multiply by a weight matrix an offset, sum."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointseg.sparse.rulebook import Block, Rulebook, num_threads_on, run_parts

Result = TypeVar("Result")


def sparse_convolution(
    features: Tensor, weight: Tensor, forward: Rulebook, backward: Rulebook, bias: Tensor | None = None
) -> Tensor:
    """``output[o] = bias + sum over pairs (k, i, o) of weight[:, k] @ features[i]``.

    Args:
        features: (num_inputs, C_in) floating point.
        weight: (C_out, kx, ky, kz, C_in), spconv's layout, of the same dtype.
        forward: rulebook from input to output rows.
        backward: the transposed rulebook, from output to input rows.
        bias: (C_out,), or None.

    Returns:
        (num_outputs, C_out). Differentiable once in features, weight and bias. On a CPU the order of summation is
        fixed for a number of threads, so equal inputs give equal bits.
    """
    if torch.is_autocast_enabled(features.device.type):
        dtype = torch.get_autocast_dtype(features.device.type)
        features, weight = features.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    return _SparseConvolution.apply(features, weight, bias, forward, backward)


class _SparseConvolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None, forward: Rulebook, backward: Rulebook
    ) -> Tensor:
        ctx.save_for_backward(features, weight)
        ctx.backward_rulebook = backward
        matrices = [matrix.t() for matrix in _matrices_by_offset(weight, forward)]
        in_channels, out_channels = matrices[0].shape
        output = features.new_empty((forward.num_outputs, out_channels))

        def run(blocks: list[Block]) -> None:
            gathered = features.new_empty((forward.max_block_pairs, in_channels))
            products = features.new_empty((forward.max_block_pairs, out_channels))
            for block in blocks:
                _gather(features, block, gathered)
                _multiply_and_sum(gathered, matrices, block, products, output, bias)

        _over_blocks(forward, run)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        features, weight = ctx.saved_tensors
        of_features, of_weight, of_bias = ctx.needs_input_grad[:3]
        rulebook: Rulebook = ctx.backward_rulebook
        matrices = _matrices_by_offset(weight, rulebook)
        _, out_channels, in_channels = matrices.shape
        grad_output = grad_output.contiguous()
        grad_features = torch.empty_like(features)
        # Many small products are added up, so half-precision inputs get a single-precision sum.
        sum_dtype = torch.promote_types(weight.dtype, torch.float32)

        def run(blocks: list[Block]) -> Tensor:
            gathered = grad_output.new_empty((rulebook.max_block_pairs, out_channels))
            rows = grad_output.new_empty((rulebook.max_block_pairs, in_channels))
            grads = torch.zeros_like(matrices, dtype=sum_dtype)
            for block in blocks:
                # Both gradients need the same gathered rows.
                _gather(grad_output, block, gathered)
                if of_features:
                    _multiply_and_sum(gathered, matrices.unbind(0), block, rows, grad_features)
                if of_weight:
                    _add_weight_gradient(gathered, features, block, rows, grads)
            return grads

        parts = _over_blocks(rulebook, run)
        # In the order of the parts, so that equal inputs give equal bits.
        grad_weight = _weight_layout(sum(parts[1:], start=parts[0]), rulebook, weight) if of_weight else None
        grad_bias = grad_output.sum(dim=0) if of_bias else None
        return grad_features if of_features else None, grad_weight, grad_bias, None, None


def _matrices_by_offset(weight: Tensor, rulebook: Rulebook) -> Tensor:
    """(K, C_out, C_in) in the order of a block's groups of pairs.

    Contiguous, because BLAS is slower on matrices whose rows lie K * C_in apart.
    """
    out_channels, in_channels = weight.shape[0], weight.shape[-1]
    matrices = weight.reshape(out_channels, -1, in_channels).transpose(0, 1)
    return matrices.flip(0) if rulebook.mirrored else matrices.contiguous()


def _weight_layout(matrices: Tensor, rulebook: Rulebook, weight: Tensor) -> Tensor:
    """The way back of :func:`_matrices_by_offset`."""
    matrices = matrices.flip(0) if rulebook.mirrored else matrices
    return matrices.to(weight.dtype).transpose(0, 1).reshape(weight.shape)


def _over_blocks(rulebook: Rulebook, work: Callable[[list[Block]], Result]) -> list[Result]:
    """``work`` on the blocks, dealt out to the threads; each thread makes its buffers once."""
    blocks = rulebook.blocks
    num_parts = max(1, min(num_threads_on(rulebook.device), len(blocks)))
    return run_parts(lambda part: work(blocks[part::num_parts]), num_parts, rulebook.device)


def _gather(rows: Tensor, block: Block, gathered: Tensor) -> None:
    torch.index_select(rows, 0, block.input_row, out=gathered[: block.input_row.numel()])


def _multiply_and_sum(
    gathered: Tensor,
    matrices: Sequence[Tensor],
    block: Block,
    products: Tensor,
    output: Tensor,
    bias: Tensor | None = None,
) -> None:
    """Multiply the gathered rows by the matrix of their offset, and sum the products of each output row, and bias."""
    num_pairs = block.input_row.numel()
    products = products[:num_pairs]
    factors = gathered[:num_pairs].split(block.num_pairs)
    for factor, matrix, product in zip(factors, matrices, products.split(block.num_pairs), strict=True):
        torch.mm(factor, matrix, out=product)
    # An embedding bag sums rows of a table: here the products of each output row, in single precision or better.
    sums = torch.embedding_bag(products, block.pair_of_sum, block.first_pair, False, 0)[0]
    rows = output[block.start : block.start + block.num_rows]
    if bias is None:
        rows.copy_(sums)
    else:
        torch.add(sums, bias, out=rows)


def _add_weight_gradient(gathered: Tensor, features: Tensor, block: Block, rows: Tensor, grads: Tensor) -> None:
    """Add ``grad_output[o]^T features[i]`` of the block's pairs to the gradient of each offset's matrix."""
    num_pairs = block.input_row.numel()
    inputs = features[block.start : block.start + block.num_rows]
    torch.index_select(inputs, 0, block.output_row, out=rows[:num_pairs])
    outer = gathered[:num_pairs].split(block.num_pairs)
    for grad, left, right in zip(grads.unbind(0), outer, rows[:num_pairs].split(block.num_pairs), strict=True):
        if left.dtype == grad.dtype:
            grad.addmm_(left.t(), right)
        else:
            grad.add_(left.t() @ right)
