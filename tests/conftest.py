"""Small prepared scenes and a small network, for tests of everything that trains or predicts."""

import functools
import importlib.util
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from pointseg.preparation.prepared_source import write_scene
from tests.pretended_gpu import PretendedGpu, reason_to_do_without

TINY_NETWORK = (
    "model.stem_channels=8",
    "model.channels=[8,16,16,8]",
    "model.layers=[1,1,1,1]",
    "model.norm_momentum=0.2",
)

# What few steps on few points can learn from, whatever the demo's recipe is tuned to.
PLAIN_AUGMENTATION = (
    "augment.drop_points_probability=0",
    "augment.rotate_z_probability=1",
    "augment.rotate_xy_probability=1",
    "augment.rotate_xy_deg=0",
    "augment.scale=[0.95, 1.05]",
    "augment.elastic_probability=0",
    "augment.mix_probability=0",
)

HAS_GPU = torch.cuda.is_available()
"""A real one; while a test marked ``gpu`` runs, torch finds one anywhere."""
if not HAS_GPU:
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is imported

_INSTALL = {
    "torch_scatter": "pip install --no-build-isolation torch-scatter",
    "spconv": "pip install -e '.[cu118]'",
    "spconv_triton": "pip install -e '.[triton]'",
    "triton": "pip install triton",
    "scenezoo": "pip install 'pointseg[datasets]'",
    "wandb": "pip install 'pointseg[wandb]'",
    "mkdocs": "pip install 'pointseg[docs]'",
    "huggingface_hub": "pip install 'pointseg[hub]'",
    "trimesh": "pip install 'pointseg[formats]'",
    "DracoPy": "pip install 'pointseg[formats]'",
    "laspy": "pip install 'pointseg[formats]'",
    "lazrs": "pip install 'pointseg[formats]'",
    "PIL": "pip install 'pointseg[formats]'",
    "playwright": "pip install -e '.[dev]'",
    "itables": "pip install 'pointseg[viz]'",
}
_PRETENDED = pytest.StashKey[PretendedGpu]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first backward pass starts autograd's threads, one for each device that is known by then."""
    if not HAS_GPU and reason_to_do_without() is None and any(map(_may_pretend, items)):
        from tests.pretended_gpu.shim import load_shim

        load_shim()


def _may_pretend(item: pytest.Item) -> bool:
    return item.get_closest_marker("gpu") is not None or item.path.stem == "test_pretended_gpu"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine lacks; what is optional but has to be there, as in CI, is missed with a failure."""
    on_gpu = item.get_closest_marker("gpu") is not None
    needed = [marker.args[0] for marker in item.iter_markers("needs")]
    if on_gpu and not HAS_GPU:
        if "spconv" in needed:
            pytest.skip("spconv's kernels run on a real GPU alone")
        if item.get_closest_marker("rehearsal") and not os.environ.get("POINTSEG_REHEARSAL"):
            pytest.skip("takes minutes without a real GPU; type: make gpu-rehearsal")
        needed.insert(0, "pretended_gpu")
    for what in needed:
        reason = _reason_to_skip(what)
        if reason is not None:
            if what in os.environ.get("POINTSEG_REQUIRE", "").split(","):
                pytest.fail(reason)
            pytest.skip(reason)
    if on_gpu and not HAS_GPU:
        item.stash[_PRETENDED] = _pretend_gpu("spconv_triton" in needed)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """A test that ran on the pretended GPU fails where streams of it raced."""
    try:
        return (yield)
    finally:
        gpu = item.stash.get(_PRETENDED, None)
        if gpu is not None:
            del item.stash[_PRETENDED]
            gpu.__exit__(None, None, None)
            assert not gpu.state.races, f"streams raced: {dict(gpu.state.races)}"


def _pretend_gpu(with_triton: bool) -> PretendedGpu:
    if with_triton:
        from tests.pretended_gpu.triton_interpreter import interpret_kernels

        interpret_kernels()
    return PretendedGpu().__enter__()


def _reason_to_skip(what: str) -> str | None:
    """Why a test that needs ``what`` can't run here; None: it can."""
    if what == "network":
        return None if _pip_finds_packages() else "pip can't reach the package index: no network"
    if what == "pretended_gpu":
        return reason_to_do_without()
    if what == "chromium":
        if shutil.which("chromium") is None:
            return "there is no Chromium: apt-get install -y --no-install-recommends chromium"
        return _reason_to_skip("playwright") or _reason_to_skip("itables")
    if what == "screen":
        lacking = [program for program in ("Xvfb", "xdotool") if shutil.which(program) is None]
        return f"{' and '.join(lacking)} missing: apt-get install xvfb xdotool" if lacking else None
    for module in ("spconv_triton", "triton") if what == "spconv_triton" else (what,):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed: {_INSTALL[module]}"
    return None


@functools.cache
def _pip_finds_packages() -> bool:
    """Whether pip, as it is set up here, can look up a package, the one that builds ours."""
    options = ["--disable-pip-version-check", "--timeout", "10", "--retries", "1"]
    command = [sys.executable, "-m", "pip", "index", "versions", *options, "hatchling"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def spconv_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets spconv train on the CPU. Its tests are marked ``needs("spconv")``."""
    if HAS_GPU:
        pytest.skip("compares on the CPU, where spconv must not take its GPU algorithms")
    # spconv asks for the current CUDA stream even where the tensors are on the CPU.
    monkeypatch.setattr("spconv.pytorch.ops.get_current_stream", lambda: 0)


@pytest.fixture
def exact_backend(request: pytest.FixtureRequest) -> Iterator[None]:
    """For a test with the parameters ``backend`` and ``device`` of tests/parity_cases.py."""
    parameters = request.node.callspec.params
    if (parameters["backend"], parameters["device"]) == ("spconv", "cpu"):
        request.getfixturevalue("spconv_on_cpu")
    # TF32 has ten bits: not what float32 is held to.
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(precision)


def free_ports(number: int) -> list[int]:
    """Ports for processes that meet soon: none of those that the system gives to outgoing connections meanwhile."""
    ports: list[int] = []
    for port in random.SystemRandom().sample(range(20_000, 32_000), 1000):
        if len(ports) == number:
            break
        with socket.socket() as server, suppress(OSError):
            server.bind(("127.0.0.1", port))
            ports.append(port)
    return ports


def write_boxes(root: Path, split: str, num_scenes: int, num_points: int = 600) -> None:
    """Prepared scenes in which the label follows from height and colour: floor, wall, chair and table."""
    for index in range(num_scenes):
        rng = np.random.default_rng([index, *split.encode()])
        xyz = rng.random((num_points, 3)) * (2.0, 1.5, 1.0)
        label = (xyz[:, 2] * 4).astype(np.int64)
        color = np.clip(rng.normal(40 + 50 * label[:, None], 15, (num_points, 3)), 0, 255)
        normal = rng.normal(size=(num_points, 3))
        arrays = {
            "coord": xyz.astype(np.float32),
            "color": color.astype(np.uint8),
            "normal": (normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32),
        }
        if split != "test":
            label[rng.random(num_points) < 0.1] = -1
            arrays |= {"segment200": label, "segment20": label, "instance": label}
        write_scene(root / split / f"scene{split.encode()[0]:02d}{index:02d}_00", arrays, source={})


@pytest.fixture(scope="session")
def prepared_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared tree of 5 train, 2 val and 1 test scenes of 600 points."""
    root = tmp_path_factory.mktemp("prepared")
    for split, num_scenes in (("train", 5), ("val", 2), ("test", 1)):
        write_boxes(root, split, num_scenes)
    return root


@pytest.fixture
def tiny_overrides(prepared_root: Path, tmp_path: Path) -> list[str]:
    """Overrides of ``demo.yaml`` for a run of seconds: two passes of three steps in ``tmp_path / "run"``."""
    return [
        *TINY_NETWORK,
        *PLAIN_AUGMENTATION,
        f"data.root={prepared_root}",
        f"run.dir={tmp_path / 'run'}",
        "data.voxel_size_m=0.1",
        "data.scenes_per_batch=2",
        "train.passes=2",
        "train.log_every=1",
        "train.num_threads=1",
    ]


@pytest.fixture(scope="session")
def trained_run(prepared_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained for a few passes on ``prepared_root``."""
    from pointseg.train import main

    run = tmp_path_factory.mktemp("runs") / "trained"
    overrides = [*TINY_NETWORK, *PLAIN_AUGMENTATION]
    overrides += [f"data.root={prepared_root}", f"run.dir={run}", "data.voxel_size_m=0.1"]
    main(
        [
            "--cfg",
            "demo.yaml",
            *overrides,
            "data.scenes_per_batch=2",
            "train.passes=12",
            "train.log_every=1",
            "train.num_threads=1",
            "optimizer.lr=0.02",
        ]
    )
    return run
