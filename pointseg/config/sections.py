"""The sections of a config, and what each key means: declarations alone."""

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, ValidationInfo, field_validator

Feature = Literal["xyz", "rgb", "normal"]
Share = Annotated[float, Field(gt=0, le=1)]
# Beyond these a number is a slip, and would end in an error of PyTorch or of the system, or in none.
_LARGEST_COUNT = 2**31 - 1
_MOST_PROCESSES = 1024
Count = Annotated[int, Field(ge=0, le=_LARGEST_COUNT)]
PositiveCount = Annotated[int, Field(gt=0, le=_LARGEST_COUNT)]
Channels = Annotated[int, Field(gt=0, le=16384)]
Blocks = Annotated[int, Field(gt=0, le=100)]
Factor = Annotated[float, Field(ge=1e-3, le=1000)]
Metres = Annotated[float, Field(ge=0, le=1000)]


def _refuse_what_names_no_file(text: str) -> str:
    if not text or "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("expected a name that a file can have")
    if text.startswith("~"):  # a folder of that name would be made
        raise ValueError("expected a path without ~, which stands for the home folder in a shell alone; write it out")
    return text


FileName = Annotated[str, AfterValidator(_refuse_what_names_no_file)]


class Section(BaseModel):
    """A part of the config: fixed after reading, and no key that is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_yes_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML's yes, on and true would be 1."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and kind is not bool and bool not in get_args(kind):
            raise ValueError("expected something else than true or false (in YAML also yes, no, on, off)")
        return value


class RunConfig(Section):
    """Where a run is kept, and what makes it repeatable."""

    dir: FileName | None = None
    """Folder of the run; null: runs/<stem of the config's name>."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of weights, order of scenes and augmentation."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto: a GPU when there is one."""


class DataConfig(Section):
    """Which scenes, and how they become voxels and batches."""

    root: FileName = "data/scannet"
    """The prepared tree (pointseg prepare)."""
    train_split: FileName | tuple[FileName, ...] = "train"
    """Folder below root to train on, or several: [train, val]."""
    val_split: FileName | tuple[FileName, ...] | None = "val"
    """Folder below root to validate on, or several; null: no validation."""
    voxel_size_m: float = Field(default=0.02, ge=1e-4, le=100)
    """Edge of a voxel, metres: 0.0001 to 100."""
    features: tuple[Feature, ...] = Field(default=("xyz", "rgb", "normal"), min_length=1)
    """Inputs of the network, three channels each: centred metres, 0..1, unit vectors."""
    color_range: tuple[Literal[-1, 0], Literal[1]] = (0, 1)
    """What black and white are to the network; published weights of before Pointcept 1.6.0 take -1 and 1."""
    center: Literal["extremes", "robust"] = "extremes"
    """The box whose middle is the origin of xyz, and its bottom z = 0: around all points, or all but a few far away."""
    scenes_per_batch: int = Field(default=12, gt=0, le=4096)
    """Scenes a batch, over all processes together: 4096 at most."""
    max_points: PositiveCount | None = 100_000
    """Points of a training scene, one a voxel, kept around a random center (of two mixed, twice as many); null: all."""
    crop_share: tuple[Share, Share] | None = None
    """Share of its points, one a voxel, that a training scene keeps, drawn evenly from, to; null: max_points alone."""
    max_voxels: PositiveCount | None = None
    """Voxels of a batch of each process: the largest scenes are cropped until it fits, and counted; null: any."""
    num_workers: int = Field(default=8, ge=0, le=_MOST_PROCESSES)
    """Loader processes for each training process, 1024 at most; 0: load in the training process."""
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    """Where scenes are augmented and voxelised; cuda: on the network's GPU, without workers; auto: where it is."""
    cache: Literal["none", "ram", "device"] = "none"
    """Where training scenes are kept once read: nowhere, in RAM (once a machine), or in the memory of data.device."""


class ObjectConfig(Section):
    """What is done to each annotated object of a training scene, after all else; needs instance.npy. Off by default."""

    shift_probability: float = Field(default=0.0, ge=0, le=1)
    """Chance of a shift."""
    shift_m: Metres = 0.1
    """Largest shift on each axis, metres, either way."""
    turn_probability: float = Field(default=0.0, ge=0, le=1)
    """Chance of a turn about the vertical through its middle."""
    turn_deg: float = Field(default=45.0, ge=0, le=360)
    """Largest turn, degrees, either way."""
    flip_probability: float = Field(default=0.0, ge=0, le=1)
    """Chance that x and y are mirrored about its middle, with a chance of one half each."""
    scale_probability: float = Field(default=0.0, ge=0, le=1)
    """Chance of another size."""
    scale: tuple[Factor, Factor] = (0.9, 1.1)
    """Factor on its size, from, to."""
    ignore_probability: float = Field(default=0.0, ge=0, le=1)
    """Chance that a random half of its points are not learned from."""
    black_probability: float = Field(default=0.0, ge=0, le=1)
    """Chance that it becomes black."""
    swap_probability: float = Field(default=0.0, ge=0, le=1)
    """Chance of each pair of a shuffled list of the objects to change places."""

    @property
    def is_on(self) -> bool:
        """Whether anything can happen."""
        return any(value > 0 for key, value in self.model_dump().items() if key.endswith("_probability"))


class AugmentConfig(Section):
    """What is done to a training scene, in this order. A range is drawn from evenly.

    What came after the first runs is off by default: a config without it means what it meant.
    """

    copy_paste: int = Field(default=0, ge=0, le=10_000)
    """Objects of tail classes, from other training scenes, to set down in each scene where there is room."""
    drop_points_probability: float = Field(default=0.0, ge=0, le=1)
    """Chance that points are left out."""
    drop_points_share: float = Field(default=0.2, ge=0, lt=1)
    """Chance of each point to be left out then."""
    rotate_z_probability: float = Field(default=1.0, ge=0, le=1)
    """Chance of the turn about the vertical."""
    rotate_z_deg: float = Field(default=180.0, ge=0, le=360)
    """Turn about the vertical by up to this many degrees, either way."""
    rotate_xy_probability: float = Field(default=1.0, ge=0, le=1)
    """Chance of the tilt about x, and the same for y."""
    rotate_xy_deg: float = Field(default=2.8, ge=0, le=360)
    """Tilt about x and y by up to this many degrees, either way."""
    scale: tuple[Factor, Factor] = (0.9, 1.1)
    """Factor on all coordinates, from, to: 0.001 to 1000."""
    flip_probability: float = Field(default=0.5, ge=0, le=1)
    """Chance to mirror x, and the same for y."""
    jitter_m: Metres = 0.005
    """Standard deviation of the noise on each coordinate, metres."""
    jitter_clip_m: Metres = 0.02
    """Largest noise on a coordinate, metres."""
    elastic_probability: float = Field(default=0.0, ge=0, le=1)
    """Chance of an elastic distortion."""
    elastic: tuple[tuple[Factor, Metres], ...] = ((0.2, 0.4), (0.8, 1.6))
    """Its levels, each (granularity, magnitude): cell of a noise grid and factor on the blurred noise, both metres."""
    auto_contrast_probability: float = Field(default=0.2, ge=0, le=1)
    """Chance to stretch the colours to the whole range, blended at random."""
    color_shift: float = Field(default=0.05, ge=0, le=1)
    """Shift of each colour channel, share of the whole range, either way."""
    color_jitter: float = Field(default=0.05, ge=0, le=1)
    """Standard deviation of the noise on each colour, share of the whole range."""
    color_probability: float = Field(default=0.95, ge=0, le=1)
    """Chance of the colour shift, and the same for the colour jitter."""
    hue_saturation_probability: float = Field(default=0.0, ge=0, le=1)
    """Chance that hue and saturation change."""
    hue_shift: float = Field(default=0.5, ge=0, le=0.5)
    """Turn of the hue, share of the whole circle, either way."""
    saturation_shift: float = Field(default=0.2, ge=0, le=1)
    """Change of the saturation, share of what it is, either way."""
    color_drop_probability: float = Field(default=0.0, ge=0, le=1)
    """Chance that all colours become black."""
    objects: ObjectConfig = ObjectConfig()
    """What is done to single objects."""
    mix_probability: float = Field(default=0.0, ge=0, le=1)
    """Chance that two scenes of a batch become one (Mix3D, 3DV 2021); there are fewer, larger scenes then."""


class ModelConfig(Section):
    """A network: a size with a name (pointseg/models/{unet,volt}.py), and what is to differ from it."""

    name: Literal["spunet14", "spunet18", "spunet34", "volt_s", "volt_b"] = "spunet34"
    """The size, and what a null below takes its value from; spunet34, volt_s and volt_b are published networks."""
    stem_channels: Channels | None = None
    """Channels at full resolution before the first stage; null: of the named size."""
    channels: tuple[Channels, ...] | None = None
    """Channels of each stage: encoder from fine to coarse, then decoder from coarse to fine; null: the size's."""
    layers: tuple[Blocks, ...] | None = None
    """Residual blocks of each stage, in the same order; null: of the named size."""
    width: float = Field(default=1.0, gt=0, le=64)
    """Factor on all channels, which are then rounded to multiples of 8: 0.5 for a laptop."""
    dim: Channels | None = None
    """volt: channels of a token, a multiple of 64; null: of the named size."""
    depth: Blocks | None = None
    """volt: transformer blocks; null: of the named size."""
    decoder_channels: Channels | None = None
    """volt: last features of a voxel; null: of the named size."""
    drop_path: float = Field(default=0.3, ge=0, lt=1)
    """volt: chance to leave out the last block for a scene in training, rising from 0 at the first."""
    checkpoint_activations: bool = False
    """Whether training computes each block again in the backward pass instead of keeping it: less memory, more time."""
    norm_momentum: float = Field(default=0.01, gt=0, le=1)
    """Weight of the newest batch in batch norm's running statistics; more for runs of few steps."""
    backend: Literal["auto", "torch", "spconv", "spconv_triton"] = "auto"
    """Sparse convolution library; auto: the fastest that runs on the device."""
    init: FileName | None = None
    """Run or checkpoint whose weights to start from, all but the classifier if its classes differ; null: random."""


class CollapseConfig(Section):
    """The center-collapse regulariser (CeCo). A null takes the preset's value."""

    weight: float = Field(default=0.5, ge=0)
    """λ, the weight of L_CR beside the other losses; 0: no center branch."""
    warmup_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the steps in which λ rises from 0."""
    decay_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the steps, the last ones, in which λ falls to 0."""
    preset: Literal["paper", "release"] = "release"
    """paper: the equations; release: what the authors' 2D code does."""
    projection: Literal["none", "linear", "mlp"] | None = None
    """Maps before the simplex: none (needs K-1 features), linear, or mlp (the release's)."""
    projection_trainable: bool | None = None
    """Whether the maps before the simplex learn."""
    subtract_mean: bool | None = None
    """Whether the mean of the centers is taken off each of them."""
    mean_momentum: float | None = Field(default=None, ge=0, lt=1)
    """Share of the old mean in a running one that is taken off; null: the batch's own mean."""
    normalize: bool | None = None
    """Whether centers have unit length before they meet the simplex."""
    scale: PositiveFloat | None = None
    """s, factor on the cosines (or products) before the softmax."""
    log_prior: Literal["none", "points", "scenes"] | None = None
    """π, added to the logits of centers: log share of a class's points, or of the scenes it is in."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Dropout of the projected centers."""
    reduction: Literal["sum", "mean"] | None = None
    """Over the classes present."""
    class_weight: Literal["none", "scenes"] = "none"
    """Of each class's term: all alike, or the inverse of the share of scenes that have the class."""
    scope: Literal["batch", "scene", "job"] = "job"
    """One center a class for all processes together (job), for each scene, or for each process's batch."""
    points_per_center: PositiveCount | None = None
    """Points, on average, that are drawn anew for each center in each step; null: all, as in the paper."""
    momentum: float | None = Field(default=None, ge=0, lt=1)
    """Share of the old center in a bank that stands in for absent classes; null: no bank, as in the paper."""
    backend: Literal["index_add", "torch_scatter"] = "index_add"
    """What sums the features of a class."""


class LossConfig(Section):
    """What is minimised: a weighted sum over points, 0: not part of it, and λ · center collapse."""

    cross_entropy: float = Field(default=1.0, ge=0)
    """Weight of plain cross-entropy."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target of cross_entropy that all classes get in equal parts (CVPR 2016); 0: the label alone."""
    class_balanced: float = Field(default=0.0, ge=0)
    """Weight of cross-entropy with classes weighted by their inverse frequency."""
    effective_number: float = Field(default=0.0, ge=0)
    """Weight of cross-entropy with classes weighted by the effective number of points (CVPR 2019)."""
    effective_number_beta: float = Field(default=0.999999, ge=0, lt=1)
    """β of effective_number: (V - 1) / V where a class has V distinct points at most."""
    focal: float = Field(default=0.0, ge=0)
    """Weight of the focal loss (ICCV 2017)."""
    focal_gamma: float = Field(default=2.0, ge=0)
    """γ of focal: how little well-classified points count."""
    balanced_softmax: float = Field(default=0.0, ge=0)
    """Weight of logit-adjusted cross-entropy (ICLR 2021), balanced softmax (NeurIPS 2020) at τ = 1."""
    balanced_softmax_tau: float = Field(default=1.0, ge=0)
    """τ of balanced_softmax: factor on the log-prior."""
    lovasz: float = Field(default=0.0, ge=0)
    """Weight of the Lovász-softmax loss (CVPR 2018); of several processes, the average of each one's own."""
    collapse: CollapseConfig = CollapseConfig()
    """The center branch."""

    @property
    def terms(self) -> dict[str, float]:
        """What trains the classifier -> its weight."""
        names = ("cross_entropy", "class_balanced", "effective_number", "focal", "balanced_softmax", "lovasz")
        return {name: getattr(self, name) for name in names}


class DistillConfig(Section):
    """A trained network that teaches this one (arXiv 2604.19609): a second classifier learns what it says."""

    run: FileName | None = None
    """Run of the teacher, of the same classes and voxel size, or one of its checkpoints; null: none."""
    weight: float = Field(default=0.5, gt=0, lt=1)
    """Share of the teacher's classes in point recognition; the classifier that predicts learns from the rest alone."""


class OptimizerConfig(Section):
    """The optimiser and its learning rate over the run."""

    name: Literal["sgd", "adamw"] = "sgd"
    """sgd (with Nesterov momentum) or adamw."""
    lr: float = Field(default=0.05, gt=0, le=1e30)
    """Highest learning rate."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of sgd; first beta of adamw. With cycle_momentum not read, and 0 refused."""
    weight_decay: float = Field(default=1e-4, ge=0, le=1000)
    """Weight decay (decoupled in adamw)."""
    grad_clip: PositiveFloat | None = None
    """Largest norm of the gradient; null: as it comes."""
    schedule: Literal["one_cycle", "poly", "constant"] = "one_cycle"
    """Shape of the learning rate."""
    warmup_share: float = Field(default=0.05, gt=0, lt=1)
    """one_cycle: share of the steps in which the rate rises."""
    final_div_factor: float = Field(default=1e4, ge=1, le=1e12)
    """one_cycle: the rate at the end is a tenth of lr, where it begins, over this."""
    cycle_momentum: bool = False
    """one_cycle: whether momentum falls and rises (0.95, 0.85, 0.95) against the rate, in the place of momentum."""
    poly_power: PositiveFloat = 0.9
    """poly: exponent."""


class TrainConfig(Section):
    """How long, and what happens on the way."""

    passes: PositiveCount = 600
    """Passes over the training split."""
    freeze: Literal["none", "features"] = "none"
    """features: only the classifier learns, on the features of model.init; none: all learns."""
    amp: Literal["none", "fp16", "bf16"] = "fp16"
    """Mixed precision on a GPU (spconv and spconv_triton take bf16 as fp16); on a CPU fp16 is none, bf16 refused."""
    scenes_at_once: PositiveCount | None = None
    """Scenes of each process in the network at a time, whose gradients add up to the batch's; null: all of a batch."""
    ema_decay: float | None = Field(default=None, ge=0, lt=1)
    """Decay of a moving average of the weights, which then predicts in their place; null: none."""
    sync_batch_norm: bool = False
    """Whether batch norm shares its statistics between processes."""
    validate_every: Count = 10
    """Validate after every so many passes; 0: only after the last."""
    measure_collapse_every: Count = 10
    """Measure neural collapse at validations after every so many passes, and at the last; 0: never."""
    log_every: PositiveCount = 10
    """Steps between two lines of metrics.jsonl, and of what is printed where the output is no terminal."""
    wandb: str | None = Field(default=None, min_length=1, max_length=128)
    """Project on Weights & Biases that shows what TensorBoard does (extra wandb); null: none."""
    num_threads: int = Field(default=0, ge=0, le=_MOST_PROCESSES)
    """CPU threads of each process, 1024 at most; 0: what PyTorch chooses."""


class InferenceConfig(Section):
    """What happens to the network's output when it predicts."""

    amp: Literal["none", "fp16", "bf16"] = "none"
    """Mixed precision, as in training."""
    logit_adjustment: float = Field(default=0.0, ge=-100, le=100)
    """τ of post-hoc logit adjustment (ICLR 2021): τ times the log-prior of points is taken off; 0: none."""
    max_voxels: PositiveCount | None = 500_000
    """Voxels in memory at a time; a larger scene is predicted in overlapping tiles of so many; null: never in tiles."""
    vote: Literal["none", "segments"] = "none"
    """segments: one label for each over-segment of the mesh, by the mean probability of its points; none: no votes."""
