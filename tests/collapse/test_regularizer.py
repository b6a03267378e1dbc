"""L_CR is the paper's equation, and the release's variant of it."""

import math

import pytest
import torch
import torch.nn.functional as F

from pointseg.collapse import CenterCollapse
from pointseg.collapse.running_mean import RunningMean


def _literal_paper_loss(features: torch.Tensor, labels: torch.Tensor, etf: torch.Tensor) -> torch.Tensor:
    """- Σ_k log( exp(z̄_kᵀ w*_k) / Σ_k' exp(z̄_kᵀ w*_k') ), class by class."""
    loss = torch.zeros((), dtype=features.dtype)
    for k in range(len(etf)):
        members = features[labels == k]
        if len(members):
            products = [torch.dot(members.mean(0), w) for w in etf.to(features.dtype)]
            loss = loss - (products[k] - torch.logsumexp(torch.stack(products), 0))
    return loss


def test_paper_is_the_paper_equation_where_no_lift_is_needed() -> None:
    torch.manual_seed(0)
    features, labels = torch.randn(300, 12, dtype=torch.float64), torch.randint(-1, 6, (300,))
    branch = CenterCollapse.paper(12, 8)
    torch.testing.assert_close(branch(features, labels), _literal_paper_loss(features, labels, branch.etf))


def test_the_gradient_is_the_papers_closed_form() -> None:
    """∂L_CR/∂z_i = (1/n_k) [(p_k - 1) w*_k + Σ_{k'≠k} p_k' w*_k']."""
    torch.manual_seed(1)
    features = torch.randn(60, 12, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(-1, 6, (60,))
    branch = CenterCollapse.paper(12, 8)
    (gradient,) = torch.autograd.grad(branch(features, labels), features)
    etf = branch.etf.double()
    for i in range(60):
        k = int(labels[i])
        if k < 0:
            assert not gradient[i].any()
            continue
        members = labels == k
        probability = torch.softmax(features[members].mean(0) @ etf.T, dim=0)
        expected = (probability @ etf - etf[k]) / members.sum()
        torch.testing.assert_close(gradient[i], expected.detach())


def test_release_is_what_the_authors_code_does() -> None:
    torch.manual_seed(2)
    features, labels = torch.randn(300, 12), torch.randint(-1, 6, (300,))
    log_prior = torch.rand(8).log()
    branch = CenterCollapse.release(12, 8, log_prior=log_prior)
    branch.dropout.p = 0.0
    assert not any(p.requires_grad for p in branch.parameters())
    projected = F.batch_norm(features @ branch.point_projection.linear.weight.T, None, None, training=True)
    losses = []
    for k in range(6):
        lifted = F.normalize(branch.lift(projected[labels == k].mean(0)), dim=0)
        logits = 5.0 * branch.etf @ lifted + log_prior
        losses.append(F.cross_entropy(logits, torch.tensor(k)))
    torch.testing.assert_close(branch(features, labels), torch.stack(losses).mean())
    assert branch.etf.shape == (8, 512)


@pytest.mark.parametrize("preset", ["paper", "release"])
@pytest.mark.parametrize("num_points", [0, 1, 5])
def test_without_a_label_the_loss_and_its_gradient_are_zero(preset: str, num_points: int) -> None:
    branch = getattr(CenterCollapse, preset)(96, 200, projection_trainable=True)
    features = torch.randn(num_points, 96, requires_grad=True)
    loss = branch(features, torch.full((num_points,), -1))
    loss.backward()
    assert loss.item() == 0.0
    assert not features.grad.any()
    for parameter in branch.parameters():
        assert parameter.grad is None or not parameter.grad.any()


@pytest.mark.parametrize("preset", ["paper", "release"])
def test_features_of_an_absent_class_do_not_matter(preset: str) -> None:
    """A row labelled IGNORE moves nothing but the batch norm of the release."""
    branch = getattr(CenterCollapse, preset)(96, 200).eval()
    features, labels = torch.randn(50, 96), torch.randint(0, 20, (50,))
    more = torch.cat([features, 1e3 * torch.randn(9, 96)])
    torch.testing.assert_close(branch(features, labels), branch(more, F.pad(labels, (0, 9), value=-1)))


def test_the_simplex_is_never_trained() -> None:
    branch = CenterCollapse.paper(96, 200)
    assert "etf" in dict(branch.named_buffers())
    assert [name for name, _ in branch.named_parameters()] == ["lift.weight"]


def test_centers_on_their_vertices_have_the_least_loss() -> None:
    """Along its own vertex, a center's loss falls with its length towards zero; at zero it is log K."""
    branch = CenterCollapse.paper(7, 8)
    labels = torch.arange(8)
    losses = [branch(length * branch.etf, labels).item() / 8 for length in (0.0, 1.0, 10.0, 40.0)]
    assert losses[0] == pytest.approx(math.log(8))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 1e-3


@pytest.mark.parametrize("preset", ["paper", "release"])
def test_autocast_does_not_change_the_loss(preset: str) -> None:
    branch = getattr(CenterCollapse, preset)(32, 20).eval()
    features, labels = torch.randn(100, 32), torch.randint(0, 20, (100,))
    expected = branch(features, labels)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(branch(features, labels), expected)


def _literal_loss(centers: torch.Tensor, branch: CenterCollapse) -> list[torch.Tensor]:
    """- log softmax_k(s·z̃ᵀW* + π) of centers (K, D'), one a class, after mean and length."""
    etf, prior = branch.etf.to(centers), branch.log_prior.to(centers)
    losses = []
    for k, center in enumerate(centers):
        lifted = branch.lift(center)
        if branch.normalize:
            lifted = lifted / lifted.norm()
        products = torch.stack([branch.scale * torch.dot(lifted, w) + p for w, p in zip(etf, prior, strict=True)])
        losses.append(torch.logsumexp(products, 0) - products[k])
    return losses


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("subtract_mean", [False, True])
@pytest.mark.parametrize("projection", ["none", "linear"])
def test_every_choice_is_what_a_literal_loop_computes(projection: str, subtract_mean: bool, reduction: str) -> None:
    """Scope scene: each scene's classes present, and the mean over the scenes that have a label."""
    torch.manual_seed(0)
    features, scene = torch.randn(120, 9, dtype=torch.float64), torch.arange(120) // 40
    labels = torch.randint(-1, 5, (120,))
    labels[scene == 1] = -1
    branch = CenterCollapse(
        9,
        7,
        projection=projection,  # type: ignore[arg-type]
        subtract_mean=subtract_mean,
        normalize=True,
        scale=3.0,
        log_prior=torch.rand(7).log(),
        reduction=reduction,  # type: ignore[arg-type]
        scope="scene",
    ).double()
    per_scene = []
    for s in (0, 2):
        losses = torch.zeros((), dtype=torch.float64)
        present = [k for k in range(7) if ((labels == k) & (scene == s)).any()]
        means = {k: features[(labels == k) & (scene == s)].mean(0) for k in present}
        middle = torch.stack(list(means.values())).mean(0) if subtract_mean else 0.0
        for k in present:
            centers = torch.ones(7, 9, dtype=torch.float64)
            centers[k] = means[k] - middle
            losses = losses + _literal_loss(centers, branch)[k]
        per_scene.append(losses / len(present) if reduction == "mean" else losses)
    torch.testing.assert_close(branch(features, labels, scene, 3), torch.stack(per_scene).mean())


@pytest.mark.parametrize("choices", [{}, {"subtract_mean": True}, {"scope": "scene"}, {"momentum": 0.5}], ids=str)
@pytest.mark.parametrize("preset", ["paper", "release"])
def test_gradients_are_right(preset: str, choices: dict[str, object]) -> None:
    """Against finite differences in float64, through projection, mean, length and scale."""
    torch.manual_seed(0)
    branch = getattr(CenterCollapse, preset)(3, 6, projection_trainable=True, **choices).double()
    if preset == "release":
        branch.dropout.p = 0.0
    features = torch.randn(24, 3, dtype=torch.float64, requires_grad=True)
    labels, scene = torch.randint(-1, 5, (24,)), torch.randint(0, 2, (24,))
    branch.eval()  # running statistics and bank stay as they are between two evaluations
    assert torch.autograd.gradcheck(lambda z: branch(z, labels, scene, 2), (features,), fast_mode=True)


def test_subtracting_the_mean_makes_the_loss_blind_to_a_common_shift() -> None:
    """What a ReLU adds to all centers alike."""
    torch.manual_seed(0)
    features, labels = torch.randn(60, 12), torch.randint(0, 8, (60,))
    blind, seeing = (CenterCollapse.paper(12, 8, subtract_mean=flag) for flag in (True, False))
    torch.testing.assert_close(blind(features, labels), blind(features + 5.0, labels))
    assert not torch.isclose(seeing(features, labels), seeing(features + 5.0, labels), rtol=1e-2)


def test_a_running_mean_is_the_moving_average_of_the_batches_means() -> None:
    """Three batches with other classes each; the first one's mean is taken whole, and evaluation remembers nothing."""
    torch.manual_seed(4)
    branch = CenterCollapse.paper(7, 8, subtract_mean=True, mean_momentum=0.75)
    running: torch.Tensor | None = None
    for classes in ([0, 1, 2], [2, 3], [4, 5, 6, 7]):
        labels = torch.tensor(classes).repeat(9)
        features = torch.randn(len(labels), 7, dtype=torch.float64)
        own = torch.stack([features[labels == k].mean(0) for k in classes]).mean(0)
        running = own if running is None else 0.75 * running + 0.25 * own
        # Centers less the mean are the centers of all points less the mean.
        expected = _literal_paper_loss(features - running, labels, branch.etf)
        # The buffer is float32.
        torch.testing.assert_close(branch(features, labels), expected, rtol=1e-5, atol=1e-6)
    assert branch.running_mean is not None
    branch.eval()
    before = branch.running_mean.mean.clone()
    branch(torch.randn(4, 7), torch.zeros(4, dtype=torch.long))
    torch.testing.assert_close(branch.running_mean.mean, before, rtol=0, atol=0)


def test_a_batch_without_a_label_leaves_the_running_mean_as_it_is() -> None:
    branch = CenterCollapse.paper(7, 8, subtract_mean=True, mean_momentum=0.75)
    features = torch.randn(5, 7, requires_grad=True)
    branch(features, torch.full((5,), -1)).backward()
    assert branch.running_mean is not None and not branch.running_mean.is_known
    assert features.grad is not None and not features.grad.any()
    labels = torch.tensor([0, 0, 1, 1, 1])
    branch(features, labels)
    own = (features[:2].mean(0) + features[2:].mean(0)) / 2
    torch.testing.assert_close(branch.running_mean.mean, own.detach())


def test_with_centers_of_scenes_one_running_mean_serves_all() -> None:
    """Scene 1 has no label: its mean, which is none, is no part of it."""
    torch.manual_seed(5)
    branch = CenterCollapse.paper(7, 8, subtract_mean=True, mean_momentum=0.5, scope="scene")
    features, scene = torch.randn(6, 7), torch.tensor([0, 0, 1, 1, 2, 2])
    branch(features, torch.tensor([0, 1, -1, -1, 3, 3]), scene, 3)
    assert branch.running_mean is not None
    expected = torch.stack([features[:2].mean(0), features[4:].mean(0)]).mean(0)
    torch.testing.assert_close(branch.running_mean.mean, expected)


def test_a_center_of_some_points_is_theirs_and_small_classes_keep_all() -> None:
    """The loss is that of the drawn labels; of 1,000 points 20 are drawn on average, of 3 all, without a label none."""
    torch.manual_seed(6)
    features, labels = torch.randn(1013, 7), torch.tensor([0] * 1000 + [1] * 3 + [-1] * 10)
    branch = CenterCollapse.paper(7, 8, points_per_center=20)
    whole = CenterCollapse.paper(7, 8)
    numbers = []
    for seed in range(50):
        torch.manual_seed(seed)
        loss = branch(features, labels)
        torch.manual_seed(seed)
        drawn = branch.draw_points(labels, 20)
        torch.testing.assert_close(loss, whole(features, drawn))
        assert (drawn[1000:] == labels[1000:]).all()
        numbers.append(int((drawn == 0).sum()))
    assert len(set(numbers)) > 5
    assert sum(numbers) / 50 == pytest.approx(20, abs=2.5)
    torch.testing.assert_close(branch.eval()(features, labels), whole(features, labels))


def test_of_a_center_of_each_scene_that_many_points_are_drawn_of_each() -> None:
    """Two scenes of a class, one of 10,000 points and one of 5: the small one keeps all."""
    torch.manual_seed(6)
    labels, scene = torch.zeros(10_005, dtype=torch.long), torch.tensor([0] * 10_000 + [1] * 5)
    branch = CenterCollapse.paper(7, 8, points_per_center=20, scope="scene")
    drawn = branch.draw_points(labels, 20, scene, 2) == 0
    assert 5 <= drawn[:10_000].sum() <= 45
    assert drawn[10_000:].all()
    with pytest.raises(ValueError, match="needs scene_of_point"):
        branch(torch.randn(10_005, 7), labels)


def test_to_draw_takes_as_many_random_numbers_whatever_the_number_of_points() -> None:
    """Processes have different numbers, and what they draw after that, the dropout of centers, has to be alike."""
    branch = CenterCollapse.paper(7, 8, points_per_center=20)
    states = []
    for num_points in (3000, 4001):
        torch.manual_seed(1)
        labels = torch.zeros(num_points, dtype=torch.long)
        first, second = branch.draw_points(labels, 20), branch.draw_points(labels, 20)
        assert (first != second).any()
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


@pytest.mark.parametrize("scope", ["batch", "scene"])
def test_class_weights_weigh_the_terms_of_the_sum_and_of_the_mean(scope: str) -> None:
    torch.manual_seed(7)
    features, scene = torch.randn(9, 7), torch.arange(9) // 3
    labels = torch.tensor([0, 0, 2, 2, 5, -1, -1, -1, -1])
    weight = torch.tensor([1.0, 9, 4, 9, 9, 0.25, 9, 9])
    rows = [torch.arange(9)] if scope == "batch" else [torch.arange(3), torch.arange(3, 6)]
    sums, means = [], []
    for of_scene in rows:
        classes = [k for k in (0, 2, 5) if (labels[of_scene] == k).any()]
        centers = torch.stack([features[of_scene][labels[of_scene] == k].mean(0) for k in classes])
        terms = CenterCollapse.paper(7, 8).compare_with_simplex(centers)
        terms = -terms.log_softmax(dim=-1)[torch.arange(len(classes)), classes]
        sums.append((weight[classes] * terms).sum())
        means.append(sums[-1] / weight[classes].sum())
    for reduction, expected in (("sum", sums), ("mean", means)):
        branch = CenterCollapse.paper(7, 8, scope=scope, reduction=reduction, class_weight=weight)
        torch.testing.assert_close(branch(features, labels, scene, 3), torch.stack(expected).mean())
        assert "class_weight" not in branch.state_dict()  # checkpoints of before they were there can be resumed
        assert branch(features, torch.full((9,), -1), scene, 3) == 0


@pytest.mark.parametrize("subtract_mean", [False, True])
def test_a_center_without_a_direction_gets_no_gradient_out_of_all_proportion(subtract_mean: bool) -> None:
    """All features are alike, or zero. It was 10¹¹ times that of usual features."""
    torch.manual_seed(8)
    branch = CenterCollapse.release(
        8, 21, projection="linear", projection_trainable=True, dropout=0, subtract_mean=subtract_mean
    )
    labels = torch.arange(20) // 10
    usual, dead = torch.rand(20, 8, requires_grad=True), torch.zeros(20, 8, requires_grad=True)
    gradients = [torch.autograd.grad(branch(features, labels), features)[0].norm() for features in (usual, dead)]
    assert 0 < gradients[1] < 1000 * gradients[0]


def test_it_computes_in_the_type_of_its_projection() -> None:
    torch.manual_seed(9)
    features, labels = torch.randn(30, 6, dtype=torch.float64), torch.randint(0, 20, (30,))
    branch = CenterCollapse.paper(6, 20)
    single = branch(features, labels)
    assert single.dtype == torch.float32
    double = branch.double()(features, labels)
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=0)
    assert CenterCollapse.paper(20, 20)(torch.randn(30, 20).half(), labels).dtype == torch.float32
    with pytest.raises(ValueError, match=r"in float32 or float64, got torch.bfloat16; call branch.float\(\)"):
        branch.bfloat16()(features, labels)


def test_images_give_the_numbers_of_their_points() -> None:
    """(B, D, H, W) with labels (B, H, W) and their own ignore label, loss and gradient, in both scopes."""
    torch.manual_seed(0)
    images = torch.randn(2, 6, 4, 5, requires_grad=True)
    labels = torch.randint(0, 7, (2, 4, 5))
    labels[0, :2] = 255
    for scope in ("batch", "scene"):
        branch = CenterCollapse.paper(6, 7, scope=scope, ignore_label=255)
        points = torch.stack([images[b, :, h, w] for b in range(2) for h in range(4) for w in range(5)])
        flat = branch(points, labels.flatten(), torch.arange(40) // 20, 2)
        dense = branch(images, labels)
        torch.testing.assert_close(dense, flat)
        ours, theirs = (torch.autograd.grad(loss, images)[0] for loss in (dense, flat))
        torch.testing.assert_close(ours, theirs)
        assert not ours[0, :, :2].any() and ours[0, :, 2:].any()


def test_what_can_not_be_is_refused() -> None:
    for weight in (torch.ones(7), torch.zeros(8), torch.full((8,), float("inf"))):
        with pytest.raises(ValueError, match=r"expected positive class weights \(8,\), got"):
            CenterCollapse.paper(7, 8, class_weight=weight)
    for scale in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="expected a scale above 0"):
            CenterCollapse(7, 8, scale=scale)
    with pytest.raises(ValueError, match="expected a momentum in 0 <= m < 1, got 1"):
        RunningMean(7, 1.0)
    with pytest.raises(ValueError, match="expected at least one point per center, got 0"):
        CenterCollapse(7, 8, points_per_center=0)
    with pytest.raises(ValueError, match="expected subtract_mean and a mean_momentum in 0 <= m < 1, got 0.5"):
        CenterCollapse(7, 8, mean_momentum=0.5)
    with pytest.raises(ValueError, match="a simplex of 200 classes needs at least 199 dimensions, got 96; lift"):
        CenterCollapse(96, 200, projection="none")
    with pytest.raises(ValueError, match="at least 2 classes, got 1"):
        CenterCollapse(96, 1)
    with pytest.raises(ValueError, match="projection of none, linear, mlp, got 'conv'"):
        CenterCollapse(96, 20, projection="conv")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="reduction of sum or mean, got 'max'"):
        CenterCollapse(96, 20, reduction="max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"finite log-prior \(20,\)"):
        CenterCollapse(96, 20, log_prior=torch.full((20,), float("-inf")))
    with pytest.raises(ValueError, match="scope scene has one a scene"):
        CenterCollapse(96, 20, scope="scene", momentum=0.9)
    with pytest.raises(ValueError, match=r"expected labels \(2, 4, 5\)"):
        CenterCollapse(6, 7)(torch.zeros(2, 6, 4, 5), torch.zeros(2, 4, 4, dtype=torch.int64))
