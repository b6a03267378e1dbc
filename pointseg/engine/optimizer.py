"""From gradients to weights: the update, its optimiser and the learning-rate schedule of the config."""

from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, OneCycleLR, PolynomialLR

from pointseg.config import OptimizerConfig


class Update:
    """One update of the weights from a loss. Nothing in it makes the host wait for a GPU.

    Under fp16 the loss is scaled, and an update whose gradients are not finite is left out.

    Attributes:
        optimizer: holds the parameters that learn.
        scaler: does nothing but under fp16.
    """

    def __init__(self, module: nn.Module, config: OptimizerConfig, amp: str, device: torch.device) -> None:
        self.optimizer = build_optimizer(module, config)
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16" and device.type == "cuda")
        self._grad_clip = config.grad_clip
        self._parameters = list(module.parameters())

    def __call__(self, loss: torch.Tensor) -> None:
        """Backward, clip, step. The gradients are dropped at once: the next forward pass has their memory."""
        self.scaler.scale(loss).backward()
        if self._grad_clip is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self._parameters, self._grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def load_state_dict(self, optimizer: dict[str, Any], scaler: dict[str, Any]) -> None:
        """Go on from the states of both, which may come from another kind of device.

        Which kernels update is the optimiser's own; they also decide where it keeps its step counts. A scaler that does
        nothing has an empty state.
        """
        kernels = [{key: group[key] for key in ("fused", "foreach")} for group in self.optimizer.param_groups]
        groups = [{**saved, **own} for saved, own in zip(optimizer["param_groups"], kernels, strict=True)]
        self.optimizer.load_state_dict({**optimizer, "param_groups": groups})
        if scaler:
            self.scaler.load_state_dict(scaler)


def build_optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW, over the parameters that learn."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    # On a GPU one kernel updates all, and looks itself whether fp16's gradients are finite: the host need not wait.
    fused = True if parameters and all(p.is_cuda for p in parameters) else None
    if config.name == "sgd":
        sgd = torch.optim.SGD(
            parameters,
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.momentum > 0,
            weight_decay=config.weight_decay,
            fused=fused,
        )
        # The fused kernel takes memory as it finds it for momentum, and fills it in the first step; fp16 may leave out
        # just that one. From zero, momentum becomes the first gradient, as it does without.
        for parameter in parameters if config.momentum > 0 else ():
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    return torch.optim.AdamW(
        parameters, lr=config.lr, betas=(config.momentum, 0.999), weight_decay=config.weight_decay, fused=fused
    )


def build_schedule(optimizer: torch.optim.Optimizer, config: OptimizerConfig, num_steps: int) -> LRScheduler:
    """The learning rate over ``num_steps`` training steps; stepped after each of them.

    One cycle rises over ``warmup_share`` of the steps, where there is one over at least the first, and falls over the
    others; one step alone is no cycle and has the whole rate.
    """
    if config.schedule == "one_cycle" and num_steps > 1:
        # A little more than a step: a rise that ends with the step in which it begins has OneCycleLR divide by 0.
        share = max(config.warmup_share, (1 + 1e-6) / num_steps)
        return OneCycleLR(
            optimizer,
            max_lr=config.lr,
            total_steps=num_steps,
            pct_start=share,
            anneal_strategy="cos",
            div_factor=10.0,
            final_div_factor=config.final_div_factor,
            cycle_momentum=config.cycle_momentum,
        )
    if config.schedule == "poly":
        return PolynomialLR(optimizer, total_iters=num_steps, power=config.poly_power)
    return ConstantLR(optimizer, factor=1.0, total_iters=0)
