"""Optimiser and learning-rate schedule from the config."""

import torch
from torch import nn
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, OneCycleLR, PolynomialLR

from pointseg.config import OptimizerConfig


def build_optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW, over the parameters that learn."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    if config.name == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.momentum > 0,
            weight_decay=config.weight_decay,
        )
    return torch.optim.AdamW(parameters, lr=config.lr, betas=(config.momentum, 0.999), weight_decay=config.weight_decay)


def build_schedule(optimizer: torch.optim.Optimizer, config: OptimizerConfig, num_steps: int) -> LRScheduler:
    """The learning rate over ``num_steps`` training steps; stepped after each of them."""
    if config.schedule == "one_cycle":
        return OneCycleLR(
            optimizer,
            max_lr=config.lr,
            total_steps=num_steps,
            pct_start=config.warmup_share,
            anneal_strategy="cos",
            div_factor=10.0,
            final_div_factor=1e4,
            cycle_momentum=config.cycle_momentum,
        )
    if config.schedule == "poly":
        return PolynomialLR(optimizer, total_iters=num_steps, power=config.poly_power)
    return ConstantLR(optimizer, factor=1.0, total_iters=0)
