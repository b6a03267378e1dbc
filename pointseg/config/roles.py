"""What part the keys have that do not decide which weights a training comes to, and who compares which of them.

A laboratory counts no run as another one for them, a run is resumed with other ones, and the processes of a job may
differ in some.
"""

from typing import Literal

Role = Literal["place", "pace", "means", "telling", "prediction", "classes"]
"""In :data:`ROLES`."""

ROLES: dict[Role, tuple[str, ...]] = {
    # Where something lies or is computed. Of scenes, weights and teachers themselves, what they are is compared.
    "place": ("run.dir", "run.device", "data.root", "model.init", "distill.run"),
    # How fast each process works.
    "pace": ("data.num_workers", "data.cache", "train.num_threads"),
    # By which library, and in which order, the same is computed: the network of all processes alike.
    "means": ("model.backend", "model.checkpoint_activations", "loss.collapse.backend"),
    # What is measured and shown on the way.
    "telling": (
        "train.validate_every",
        "train.measure_collapse_every",
        "train.log_every",
        "train.wandb",
    ),
    # How the weights predict.
    "prediction": ("inference.amp", "inference.logit_adjustment", "inference.max_voxels", "inference.vote"),
    # The name of a table, whose classes are compared.
    "classes": ("taxonomy",),
}


def keys_of(*roles: Role) -> frozenset[str]:
    """The keys, with their sections, that have one of these roles."""
    return frozenset(key for role in roles for key in ROLES[role])
