"""The streamed measures are what their definitions say of all features at once."""

import json
from itertools import combinations

import numpy as np
import pytest
import torch

from pointseg.collapse import simplex_etf
from pointseg.collapse.metrics import FeatureStatistics, measure_collapse, pairwise_cosines

NUM_CLASSES, CHANNELS = 9, 6
GROUPS = {
    "head": torch.arange(NUM_CLASSES) < 3,
    "common": (torch.arange(NUM_CLASSES) >= 3) & (torch.arange(NUM_CLASSES) < 6),
    "tail": torch.arange(NUM_CLASSES) >= 6,
}


def _draw_points(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A long tail: class 0 has most points, class 8 few, class 4 none; some points are ignored."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.full((400 // (k + 1) ** 2,), k) for k in range(NUM_CLASSES)])
    labels[labels == 4] = -1
    labels = labels[torch.randperm(len(labels), generator=generator)]
    centers = 3 * torch.randn(NUM_CLASSES, CHANNELS, generator=generator) + 10
    return centers[labels] + torch.randn(len(labels), CHANNELS, generator=generator), labels


def _gather(features: torch.Tensor, labels: torch.Tensor, num_classes: int = NUM_CLASSES) -> FeatureStatistics:
    statistics = FeatureStatistics(num_classes, features.shape[1])
    statistics.update(features, labels)
    return statistics


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def _literal_simplex(vectors: dict[int, np.ndarray], group: list[int]) -> dict[str, float | None]:
    mean = sum(vectors.values()) / len(vectors)
    cosines = [_cosine(vectors[a] - mean, vectors[b] - mean) for a, b in combinations(group, 2)]
    norms = [np.linalg.norm(vectors[k] - mean) for k in group]
    return {
        "equiangularity": float(np.std(cosines)) if len(cosines) > 1 else None,
        "separation": float(np.mean([abs(c + 1 / (len(vectors) - 1)) for c in cosines])),
        "norm_variation": float(np.std(norms) / np.mean(norms)),
    }


def _literal_measures(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, group: list[int]) -> dict:
    """The definitions, one class and one point at a time, with all features in memory."""
    points = {k: features[labels == k] for k in range(NUM_CLASSES) if (labels == k).any()}
    centers = {k: z.mean(axis=0) for k, z in points.items()}
    mean = sum(centers.values()) / len(centers)
    rows = {k: weight[k] for k in points}
    row_mean = sum(rows.values()) / len(rows)
    between = sum(np.outer(c - mean, c - mean) for c in centers.values()) / len(centers)
    deviations = [z - centers[k] for k, zs in points.items() for z in zs]
    within = sum(np.outer(d, d) for d in deviations) / len(deviations)
    spread = {k: np.mean([((z - centers[k]) ** 2).sum() for z in zs]) / np.trace(between) for k, zs in points.items()}
    matrices = [np.stack([v - m for v in vectors.values()]) for vectors, m in ((rows, row_mean), (centers, mean))]
    w, z = (m / np.linalg.norm(m) for m in matrices)
    present = [k for k in group if k in points]
    return {
        "num_classes": len(present),
        "within_class_variability": np.mean([spread[k] for k in present]),
        "nc1": np.trace(within @ np.linalg.pinv(between)) / len(centers),
        **{f"centers_{n}": v for n, v in _literal_simplex(centers, present).items()},
        **{f"classifier_{n}": v for n, v in _literal_simplex(rows, present).items()},
        **{f"classifier_all_{n}": v for n, v in _literal_simplex(dict(enumerate(weight)), group).items()},
        "alignment": np.mean([_cosine(centers[k] - mean, rows[k] - row_mean) for k in present]),
        "duality_distance": np.linalg.norm(w - z),
    }


def test_every_measure_equals_its_literal_definition() -> None:
    """Over all classes and in each group, from float32 features, with an absent class and ignored points."""
    features, labels = _draw_points()
    weight = torch.randn(NUM_CLASSES, CHANNELS, generator=torch.Generator().manual_seed(5))
    measures = measure_collapse(_gather(features, labels), weight, GROUPS)
    for name, mask in {"all": torch.ones(NUM_CLASSES, dtype=torch.bool), **GROUPS}.items():
        literal = _literal_measures(
            features.double().numpy(), labels.numpy(), weight.double().numpy(), mask.nonzero().flatten().tolist()
        )
        for measure, value in literal.items():
            if value is None or (name != "all" and measure in ("nc1", "duality_distance")):
                assert measures[measure][name] is None
            else:
                assert measures[measure][name] == pytest.approx(value, rel=1e-9), (measure, name)
        assert measures.keys() == literal.keys()


def test_the_statistics_are_the_same_however_the_points_are_cut() -> None:
    """One call, one point a call, chunks of any size in any order, and parts that are merged."""
    features, labels = _draw_points()
    whole = _gather(features, labels)
    for size in (1, 7, 100):
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(size))
        streamed, parts = FeatureStatistics(NUM_CLASSES, CHANNELS), FeatureStatistics(NUM_CLASSES, CHANNELS)
        for chunk in order.split(size):
            streamed.update(features[chunk], labels[chunk])
            parts.merge(_gather(features[chunk], labels[chunk]))
        streamed.merge(FeatureStatistics(NUM_CLASSES, CHANNELS))
        for other in (streamed, parts):
            assert torch.equal(other.counts, whole.counts)
            torch.testing.assert_close(other.centers, whole.centers, rtol=1e-12, atol=0)
            torch.testing.assert_close(other.class_scatter, whole.class_scatter, rtol=1e-11, atol=1e-20)
            torch.testing.assert_close(other.scatter, whole.scatter, rtol=1e-11, atol=1e-9)


def test_more_points_than_are_read_at_once() -> None:
    """Blocks are an affair of speed: two and a half of them give what the definitions give."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(-1, 4, (20_000,), generator=generator)
    features = torch.randn(20_000, 5, generator=generator) + labels.unsqueeze(1)
    statistics = _gather(features, labels, 4)
    points = [features[labels == k].double() for k in range(4)]
    deviations = [z - z.mean(dim=0) for z in points]
    assert statistics.counts.tolist() == [len(z) for z in points]
    torch.testing.assert_close(statistics.centers, torch.stack([z.mean(dim=0) for z in points]), rtol=1e-12, atol=1e-14)
    expected = torch.stack([d.square().sum() for d in deviations])
    torch.testing.assert_close(statistics.class_scatter, expected, rtol=1e-12, atol=0)
    d = torch.cat(deviations)
    torch.testing.assert_close(statistics.scatter, d.T @ d, rtol=1e-11, atol=1e-9)


def test_a_state_brings_statistics_to_another_process() -> None:
    features, labels = _draw_points()
    here, there = _gather(features, labels), _gather(features[:9], labels[:9])
    there.load_state_dict({name: tensor.clone() for name, tensor in here.state_dict().items()})
    for name, tensor in here.state_dict().items():
        assert torch.equal(getattr(there, name), tensor)
    here.update(features, labels)
    assert torch.equal(2 * there.counts, here.counts)  # nothing is shared
    with pytest.raises(ValueError, match=r"expected counts \(4,\), got \(9,\)"):
        FeatureStatistics(4, CHANNELS).load_state_dict(here.state_dict())


@pytest.mark.gpu
def test_a_gpu_gives_the_same_statistics() -> None:
    features, labels = _draw_points()
    here, there = _gather(features, labels), _gather(features.cuda(), labels.cuda())
    assert torch.equal(here.counts, there.counts)
    for name in ("centers", "class_scatter", "scatter"):
        assert getattr(there, name).device.type == "cpu"
        torch.testing.assert_close(getattr(there, name), getattr(here, name), rtol=1e-11, atol=1e-9)


def test_small_scatter_far_from_the_origin_is_not_lost() -> None:
    """Σz² - nz̄² would leave nothing of a standard deviation of 10⁻⁶ at 10⁵, in float64 as well."""
    noise = torch.randn(1000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    features, labels = 1e5 + 1e-6 * noise, torch.arange(1000) % 2
    streamed = FeatureStatistics(2, 3)
    for chunk in torch.arange(1000).split(64):
        streamed.update(features[chunk], labels[chunk])
    for k in range(2):
        # What float64 stores of the points themselves is good to 10⁻⁵ of their spread.
        expected = 1e-12 * (noise[labels == k] - noise[labels == k].mean(dim=0)).square().sum()
        assert float(streamed.class_scatter[k]) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("num_classes", [2, 3, 20])
def test_a_collapsed_network_has_the_values_of_collapse(num_classes: int) -> None:
    """Every point at its vertex of a simplex, anywhere in space, and the classifier the same simplex, scaled."""
    etf = simplex_etf(num_classes, 24, seed=3).double()
    labels = torch.arange(num_classes).repeat(5)
    measures = measure_collapse(_gather((7 * etf + 2)[labels], labels, num_classes), 0.3 * etf - 1)
    expected = {"num_classes": num_classes, "alignment": 1}
    for name, value in measures.items():
        if num_classes == 2 and name.endswith("equiangularity"):
            assert value["all"] is None  # one angle is no spread
        else:
            assert value["all"] == pytest.approx(expected.get(name, 0), abs=1e-6), name


def test_opposite_classifier_and_known_spread() -> None:
    """Centers at ±1 with points 0.5 to either side: tr Σ_k = 0.25, tr Σ_B = 1; the classifier points backwards."""
    features = torch.tensor([[0.5], [1.5], [-0.5], [-1.5]])
    measures = measure_collapse(_gather(features, torch.tensor([0, 0, 1, 1]), 2), torch.tensor([[-4.0], [4.0]]))
    assert measures["within_class_variability"]["all"] == pytest.approx(0.25)
    assert measures["nc1"]["all"] == pytest.approx(0.25 / 2)
    assert measures["alignment"]["all"] == pytest.approx(-1)
    assert measures["duality_distance"]["all"] == pytest.approx(2)


def test_absent_classes_change_nothing() -> None:
    """The same points among 9 classes, 3 of them absent, and among the 6 that occur alone."""
    features, labels = _draw_points()
    labels[labels > 6] = -1
    weight = torch.randn(NUM_CLASSES, CHANNELS, generator=torch.Generator().manual_seed(1))
    occurring = torch.tensor([0, 1, 2, 3, 5, 6])
    renumbered = torch.where(labels < 0, -1, (labels.unsqueeze(1) > occurring).sum(dim=1))
    among_all = measure_collapse(_gather(features, labels), weight)
    alone = measure_collapse(_gather(features, renumbered, 6), weight[occurring])
    for name, value in alone.items():
        if not name.startswith("classifier_all"):
            assert among_all[name]["all"] == pytest.approx(value["all"], rel=1e-12), name


@pytest.mark.parametrize("labels", [[], [-1, -1], [2, 2], [2, 5]])
def test_what_is_not_defined_is_none_and_never_nan(labels: list[int]) -> None:
    """No point, no labelled point, one class; and two classes whose centers are one."""
    statistics = _gather(torch.full((len(labels), CHANNELS), 0.1), torch.tensor(labels, dtype=torch.int64))
    measures = measure_collapse(statistics, torch.eye(NUM_CLASSES)[:, :CHANNELS], GROUPS)
    json.dumps(measures, allow_nan=False)
    assert measures["num_classes"]["all"] == len(set(labels) - {-1})
    for name in ("within_class_variability", "nc1", "centers_norm_variation", "duality_distance"):
        assert set(measures[name].values()) == {None}, name
    if len(labels) < 2 or labels == [2, 2]:
        for name in ("centers_equiangularity", "centers_separation", "classifier_equiangularity", "alignment"):
            assert set(measures[name].values()) == {None}, name
    assert measures["classifier_all_equiangularity"]["tail"] is not None


def test_groups_with_fewer_than_two_classes_have_no_pairs() -> None:
    features, labels = _draw_points()
    labels[labels > 6] = -1
    measures = measure_collapse(_gather(features, labels), torch.eye(NUM_CLASSES)[:, :CHANNELS], GROUPS)
    assert measures["num_classes"] == {"all": 6, "head": 3, "common": 2, "tail": 1}
    assert measures["centers_separation"]["tail"] is None
    assert measures["within_class_variability"]["tail"] is not None
    assert measures["centers_separation"]["common"] is not None
    assert measures["centers_equiangularity"]["common"] is None
    assert measures["centers_equiangularity"]["head"] is not None


def test_a_center_at_the_mean_has_no_direction() -> None:
    """Its cosines are 0, not those of rounding noise."""
    cosines = pairwise_cosines(torch.tensor([[1.1, 0.3], [0.1, 0.3], [-0.9, 0.3]], dtype=torch.float64))
    torch.testing.assert_close(cosines, torch.tensor([[1.0, 0, -1], [0, 0, 0], [-1, 0, 1]], dtype=torch.float64))


def test_inputs_are_left_as_they_are() -> None:
    features, labels = _draw_points()
    for dtype in (torch.float32, torch.float64):
        given = features.to(dtype)
        _gather(given, labels)
        assert torch.equal(given, features.to(dtype))


def test_what_does_not_fit_is_refused() -> None:
    statistics = FeatureStatistics(4, 2)
    with pytest.raises(ValueError, match=r"expected features \(M, 2\) and labels \(M,\), got \(3, 5\) and \(3,\)"):
        statistics.update(torch.zeros(3, 5), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"labels are 0\.\.4, expected 0\.\.3 or -1"):
        statistics.update(torch.zeros(2, 2), torch.tensor([0, 4]))
    with pytest.raises(ValueError, match=r"labels are -2\.\.0"):
        statistics.update(torch.zeros(2, 2), torch.tensor([0, -2]))
    with pytest.raises(ValueError, match="class 3 has a feature that is NaN or infinite"):
        statistics.update(torch.tensor([[0, 1], [torch.inf, 0]]), torch.tensor([1, 3]))
    with pytest.raises(ValueError, match=r"\(4, 2\) \(classes, channels\), got \(4, 3\)"):
        statistics.merge(FeatureStatistics(4, 3))
    with pytest.raises(ValueError, match=r"classifier \(4, 2\) as the centers, got \(5, 2\)"):
        measure_collapse(statistics, torch.zeros(5, 2))
    assert statistics.counts.sum() == 0


def test_an_ignored_point_may_hold_anything() -> None:
    statistics = _gather(torch.tensor([[torch.nan], [1.0]]), torch.tensor([-1, 1]), 2)
    assert statistics.counts.tolist() == [0, 1]
    assert statistics.centers.tolist() == [[0], [1]]
