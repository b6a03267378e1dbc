"""Centers are class means, whatever is left out, over a batch, a scene or a job."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from pointseg.collapse import CenterCollapse, ClassCenters
from tests.conftest import free_ports

BACKENDS = [
    "index_add",
    pytest.param("torch_scatter", marks=pytest.mark.needs("torch_scatter")),
]


@pytest.mark.parametrize("backend", BACKENDS)
def test_centers_are_the_means_of_a_literal_loop(backend: str) -> None:
    torch.manual_seed(0)
    features, labels = torch.randn(500, 7, dtype=torch.float64), torch.randint(-1, 10, (500,))
    centers, counts = ClassCenters(12, backend=backend)(features, labels)
    for k in range(12):
        members = [features[i] for i in range(500) if labels[i] == k]
        assert counts[k] == len(members)
        expected = torch.stack(members).mean(0) if members else torch.zeros(7, dtype=torch.float64)
        torch.testing.assert_close(centers[k], expected)


@pytest.mark.needs("torch_scatter")
@pytest.mark.parametrize("scope", ["batch", "scene"])
def test_the_two_backends_are_equal(scope: str) -> None:
    """Centers and the gradient of the features, to 1e-5, in float32."""
    torch.manual_seed(0)
    labels, scene = torch.randint(-1, 40, (20_000,)), torch.randint(0, 3, (20_000,))
    features, weights = torch.randn(20_000, 96), torch.randn(40, 96)
    results = []
    for backend in ("index_add", "torch_scatter"):
        z = features.clone().requires_grad_()
        centers, counts = ClassCenters(40, scope=scope, backend=backend)(z, labels, scene, 3)
        (centers * weights).sum().backward()
        assert z.grad is not None
        results.append((centers.detach(), counts, z.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_scene_scope_gives_each_scene_what_it_alone_would_have() -> None:
    torch.manual_seed(0)
    features, labels, scene = torch.randn(200, 5), torch.randint(-1, 6, (200,)), torch.randint(0, 3, (200,))
    together = ClassCenters(6, scope="scene")(features, labels, scene, 4)
    assert together.centers.shape == (4, 6, 5) and together.counts.shape == (4, 6)
    for s in range(4):
        alone = ClassCenters(6)(features[scene == s], labels[scene == s])
        torch.testing.assert_close(together.centers[s], alone.centers)
        assert together.counts[s].tolist() == alone.counts.tolist()


def test_an_absent_class_has_no_center_and_ignored_points_have_no_weight() -> None:
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0], [float("nan"), float("inf")]])
    result = ClassCenters(3, ignore_label=255)(features, torch.tensor([1, 1, 255]))
    assert result.present.tolist() == [False, True, False]
    assert result.centers.tolist() == [[0, 0], [2, 3], [0, 0]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_half_precision_features_are_summed_in_float32(backend: str) -> None:
    """A class of 100,000 points: a half-precision sum would stop growing at 256."""
    features = torch.ones(100_000, 2, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        centers, counts = ClassCenters(2, backend=backend)(features, torch.zeros(100_000, dtype=torch.int64))
    assert centers.dtype == torch.float32
    assert counts.tolist() == [100_000, 0]
    assert centers[0].tolist() == [1, 1]


def test_points_are_counted_beyond_what_float32_can() -> None:
    """It stays at 2²⁴ = 16,777,216 when ones are added to it."""
    num_points = 2**24 + 8
    labels = torch.zeros(num_points, dtype=torch.int64)
    assert ClassCenters(2)(torch.ones(num_points, 1), labels).counts.tolist() == [num_points, 0]
    assert ClassCenters(2).count_points(labels[:5]).tolist() == [5.0] * 5


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_and_scenes_of_any_integer_type_mean_the_same(kind: torch.dtype, backend: str) -> None:
    """Three scenes of 120 classes have 360 rows, more than eight bits hold."""
    torch.manual_seed(0)
    features, labels, scene = torch.randn(90, 2), torch.randint(0, 120, (90,)), torch.arange(90) // 30
    centers = ClassCenters(120, scope="scene", backend=backend)
    expected = centers(features, labels, scene, 3)
    for one, other in zip(centers(features, labels.to(kind), scene.to(kind), 3), expected, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(centers.count_points(labels.to(kind), scene.to(kind), 3), centers.count_points(labels, scene, 3))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scope", ["batch", "scene"])
def test_gradients_are_right(scope: str, backend: str) -> None:
    torch.manual_seed(0)
    features = torch.randn(20, 3, dtype=torch.float64, requires_grad=True)
    labels, scene = torch.randint(-1, 4, (20,)), torch.randint(0, 2, (20,))
    centers = ClassCenters(5, scope=scope, backend=backend)
    assert torch.autograd.gradcheck(lambda x: centers(x, labels, scene, 2).centers, (features,))


@pytest.mark.parametrize("labels", [torch.tensor([0, 2]), torch.tensor([-2, 0])])
def test_a_label_that_is_no_class_is_refused(labels: torch.Tensor) -> None:
    bad = int(labels[(labels < 0) | (labels > 1)][0])
    with pytest.raises(ValueError, match=rf"expected labels 0\.\.1, or -1 for what is ignored; got {bad}"):
        ClassCenters(2)(torch.zeros(2, 3), labels)


@pytest.mark.parametrize("bad", [-1, 2])
def test_a_scene_that_is_none_is_refused_or_without_checks_left_out(bad: int) -> None:
    features, labels, scene = torch.ones(4, 1), torch.tensor([0, 1, 0, 0]), torch.tensor([0, 0, bad, 1])
    with pytest.raises(ValueError, match=rf"expected scenes 0\.\.1, got {bad}"):
        ClassCenters(2, scope="scene")(features, labels, scene, 2)
    unchecked = ClassCenters(2, scope="scene", check_inputs=False)
    assert unchecked(features, labels, scene, 2).counts.tolist() == [[1, 1], [1, 0]]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_feature_that_is_not_finite_is_refused(value: float) -> None:
    features = torch.zeros(4, 2)
    features[2, 1] = value
    with pytest.raises(ValueError, match="a point of class 1 has one that is NaN or infinite"):
        ClassCenters(3)(features, torch.tensor([0, 0, 1, 2]))


def test_what_does_not_fit_is_refused() -> None:
    labels = torch.zeros(3, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"got \(4, 2\) and \(3,\)"):
        ClassCenters(2)(torch.zeros(4, 2), labels)
    with pytest.raises(ValueError, match="at least 2 classes, got 1"):
        ClassCenters(1)
    with pytest.raises(ValueError, match="scope of batch, scene, job, got 'world'"):
        ClassCenters(2, scope="world")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="backend of index_add, torch_scatter, got 'cuda'"):
        ClassCenters(2, backend="cuda")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs scene_of_point"):
        ClassCenters(2, scope="scene")(torch.zeros(3, 2), labels)
    with pytest.raises(ValueError, match=r"expected scene_of_point \(3,\), got \(2,\)"):
        ClassCenters(2, scope="scene")(torch.zeros(3, 2), labels, labels[:2], 1)


def _job_data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(90, 4, generator=generator)
    labels = torch.randint(-1, 6, (90,), generator=generator)
    return inputs, labels, (torch.arange(90) >= 30).long()


def _job_loss(
    inputs: torch.Tensor, labels: torch.Tensor, scope: str, scene: torch.Tensor | None = None, **choices: float
) -> dict[str, torch.Tensor]:
    """A linear network and the branch, in its second step: the loss, and the gradient of every weight."""
    torch.manual_seed(1)
    network, branch = torch.nn.Linear(4, 3), CenterCollapse.paper(3, 8, scope=scope, subtract_mean=True, **choices)
    num_scenes = 1 if scene is None else int(scene.max()) + 1
    branch(network(inputs) + 1, labels, scene, num_scenes)
    loss = branch(network(inputs), labels, scene, num_scenes)
    loss.backward()
    gradients = {"weight": network.weight.grad, "bias": network.bias.grad, "lift": branch.lift.weight.grad}
    return {"loss": loss.detach(), **{k: v for k, v in gradients.items() if v is not None}}


def _run_process(rank: int, port: int, folder: Path, scope: str, choices: dict[str, float]) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    inputs, labels, scene = _job_data()
    own = scene == rank
    result = _job_loss(inputs[own], labels[own], scope, torch.zeros_like(scene[own]), **choices)
    if scope == "scene":  # each process has the loss of its own
        dist.all_reduce(result["loss"])
        result["loss"] /= 2
    for name in ("weight", "bias", "lift"):  # DDP averages gradients over the processes
        dist.all_reduce(result[name])
        result[name] /= 2
    result["count"] = ClassCenters(8, scope="job").count_points(labels[scene == rank])
    torch.save(result, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("choices", [{}, {"mean_momentum": 0.9}])
@pytest.mark.parametrize(("scope", "of_one"), [("job", "batch"), ("scene", "scene")])
def test_two_processes_with_a_scene_each_are_one_with_both(
    scope: str, of_one: str, choices: dict[str, float], tmp_path: Path
) -> None:
    """Loss and averaged gradients; the scenes have 30 and 60 points, and share some classes only."""
    (port,) = free_ports(1)
    mp.spawn(_run_process, args=(port, tmp_path, scope, choices), nprocs=2)
    inputs, labels, scene = _job_data()
    expected = _job_loss(inputs, labels, of_one, scene, **choices)
    assert expected.keys() == {"loss", "weight", "bias", "lift"}
    count = ClassCenters(8).count_points(labels)
    for rank in range(2):
        result = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(result["count"], count[scene == rank])
        for name, value in expected.items():
            torch.testing.assert_close(result[name], value, rtol=1e-5, atol=1e-6)
