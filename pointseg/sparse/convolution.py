"""The arithmetic of a sparse convolution: gather rows, multiply by a weight matrix an offset, sum."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointseg.sparse.rulebook import Block, Rulebook
from pointseg.sparse.threads import num_cpu_threads, run_parts


def sparse_convolution(features: Tensor, weight: Tensor, forward: Rulebook, backward: Rulebook) -> Tensor:
    """``output[o] = sum over pairs (k, i, o) of weight[:, k] @ features[i]``.

    Args:
        features: (num_inputs, C_in) floating point.
        weight: (C_out, kx, ky, kz, C_in), spconv's layout, of the same dtype.
        forward: rulebook from input to output rows.
        backward: the transposed rulebook, from output to input rows.

    Returns:
        (num_outputs, C_out). Differentiable once in features and weight. On a CPU the order of summation is
        fixed for a number of threads, so equal inputs give equal bits.
    """
    if torch.is_autocast_enabled(features.device.type):
        dtype = torch.get_autocast_dtype(features.device.type)
        features, weight = features.to(dtype), weight.to(dtype)
    return _SparseConvolution.apply(features, weight, forward, backward)


class _SparseConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, forward: Rulebook, backward: Rulebook) -> Tensor:
        ctx.save_for_backward(features, weight)
        ctx.backward_rulebook = backward
        matrices = [matrix.t() for matrix in _matrices_by_offset(weight)]
        output = features.new_empty((forward.num_outputs, weight.shape[0]))
        _over_blocks(forward, _ForwardPass(features, _in_block_order(matrices, forward), forward, output))
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        features, weight = ctx.saved_tensors
        of_features, of_weight = ctx.needs_input_grad[:2]
        rulebook = ctx.backward_rulebook
        matrices = _in_block_order(list(_matrices_by_offset(weight)), rulebook)
        grad_features = torch.empty_like(features) if of_features else None
        work = _BackwardPass(grad_output.contiguous(), features, matrices, rulebook, grad_features, of_weight)
        grads = _over_blocks(rulebook, work)
        if not of_weight:
            return grad_features, None, None, None
        # Summed in the order of the parts, so that equal inputs give equal bits.
        grad_matrices = sum(grads[1:], start=grads[0])
        if rulebook.mirrored:
            grad_matrices = grad_matrices.flip(0)
        grad_weight = grad_matrices.to(weight.dtype).transpose(0, 1).reshape(weight.shape)
        return grad_features, grad_weight, None, None


def _matrices_by_offset(weight: Tensor) -> Tensor:
    """(K, C_out, C_in), contiguous: BLAS is slower on matrices whose rows lie K * C_in apart."""
    out_channels, in_channels = weight.shape[0], weight.shape[-1]
    return weight.reshape(out_channels, -1, in_channels).transpose(0, 1).contiguous()


def _in_block_order(matrices: list[Tensor], rulebook: Rulebook) -> list[Tensor]:
    """The matrix of each group of pairs in a block."""
    return matrices[::-1] if rulebook.mirrored else matrices


def _over_blocks(rulebook: Rulebook, work: Callable[[list[Block]], Any]) -> list[Any]:
    """``work`` on the blocks, dealt out to the threads where they are on a CPU."""
    blocks = rulebook.blocks
    on_cpu = bool(blocks) and blocks[0].input_row.device.type == "cpu"
    num_parts = max(1, min(num_cpu_threads(), len(blocks))) if on_cpu else 1
    return run_parts(lambda part: work(blocks[part::num_parts]), num_parts)


class _ForwardPass:
    """``output[o] = sum of features[i] @ matrices[k]`` for some blocks of output rows."""

    def __init__(self, features: Tensor, matrices: list[Tensor], rulebook: Rulebook, output: Tensor) -> None:
        self.features = features
        self.matrices = matrices
        self.max_pairs = rulebook.max_block_pairs
        self.output = output

    def __call__(self, blocks: list[Block]) -> None:
        in_channels, out_channels = self.matrices[0].shape
        gathered = self.features.new_empty((self.max_pairs, in_channels))
        products = self.features.new_empty((self.max_pairs, out_channels))
        for block in blocks:
            _gather(self.features, block, gathered)
            _multiply_and_sum(gathered, self.matrices, block, products, self.output)


class _BackwardPass:
    """Gradients for some blocks of input rows; the gathered rows of ``grad_output`` serve both of them.

    Fills its rows of ``grad_features``, unless that is None. Returns its share of the gradient of the matrices
    (K, C_out, C_in) in block order, or None.
    """

    def __init__(
        self,
        grad_output: Tensor,
        features: Tensor,
        matrices: list[Tensor],
        rulebook: Rulebook,
        grad_features: Tensor | None,
        of_weight: bool,
    ) -> None:
        self.grad_output = grad_output
        self.features = features
        self.matrices = matrices
        self.max_pairs = rulebook.max_block_pairs
        self.grad_features = grad_features
        self.of_weight = of_weight

    def __call__(self, blocks: list[Block]) -> Tensor | None:
        out_channels, in_channels = self.matrices[0].shape
        gathered = self.grad_output.new_empty((self.max_pairs, out_channels))
        rows = self.grad_output.new_empty((self.max_pairs, in_channels))
        grad_matrices = self._zero_matrices() if self.of_weight else None
        for block in blocks:
            _gather(self.grad_output, block, gathered)
            if self.grad_features is not None:
                _multiply_and_sum(gathered, self.matrices, block, rows, self.grad_features)
            if grad_matrices is not None:
                _add_weight_gradient(gathered, self.features, block, rows, grad_matrices)
        return grad_matrices

    def _zero_matrices(self) -> Tensor:
        # Many small products are added up here, so half-precision inputs get a single-precision sum.
        dtype = torch.promote_types(self.features.dtype, torch.float32)
        shape = (len(self.matrices), *self.matrices[0].shape)
        return torch.zeros(shape, dtype=dtype, device=self.features.device)


def _gather(rows: Tensor, block: Block, gathered: Tensor) -> None:
    torch.index_select(rows, 0, block.input_row, out=gathered[: block.input_row.numel()])


def _multiply_and_sum(gathered: Tensor, matrices: list[Tensor], block: Block, products: Tensor, output: Tensor) -> None:
    """Multiply the gathered rows by the matrix of their offset, and sum the products of each output row."""
    num_pairs = block.input_row.numel()
    products = products[:num_pairs]
    factors = gathered[:num_pairs].split(block.num_pairs)
    for factor, matrix, product in zip(factors, matrices, products.split(block.num_pairs), strict=True):
        torch.mm(factor, matrix, out=product)
    # An embedding bag sums rows of a table: here the products of each output row, in single precision or better.
    sums = torch.embedding_bag(products, block.pair_of_sum, block.first_pair, False, 0)[0]
    output[block.start : block.start + block.num_rows] = sums


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
