"""The class tables hold the benchmark's facts, and the two kinds of id are never mixed up."""

import numpy as np
import pytest

from pointseg.errors import UsageError
from pointseg.taxonomy import IGNORE, load_taxonomy


def test_scannet200_has_the_benchmarks_groups() -> None:
    taxonomy = load_taxonomy("scannet200")
    assert taxonomy.num_classes == 200
    assert [int(taxonomy.group_mask(g).sum()) for g in ("head", "common", "tail")] == [66, 68, 66]
    assert taxonomy.class_names[0] == "wall"
    assert taxonomy.class_ids[-1] == 1191
    assert (np.diff(taxonomy.class_ids) > 0).all()


def test_scannet20_holds_nyu40_ids() -> None:
    taxonomy = load_taxonomy("scannet20")
    assert taxonomy.class_ids.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39]
    assert taxonomy.groups is None


@pytest.mark.parametrize("name", ["scannet200", "scannet20"])
def test_labels_survive_the_way_to_ids_and_back(name: str) -> None:
    taxonomy = load_taxonomy(name)
    labels = np.append(np.arange(taxonomy.num_classes), IGNORE)
    ids = taxonomy.class_id_from_label(labels)
    assert ids[-1] == 0
    np.testing.assert_array_equal(taxonomy.label_from_class_id(ids), labels)


def test_every_id_that_is_no_class_is_ignored() -> None:
    taxonomy = load_taxonomy("scannet200")
    every_id = np.arange(-5, 1300)
    expected = [list(taxonomy.class_ids).index(i) if i in taxonomy.class_ids else IGNORE for i in every_id]
    np.testing.assert_array_equal(taxonomy.label_from_class_id(every_id), expected)


def test_a_label_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"200.*expected -1\.\.199"):
        load_taxonomy("scannet200").class_id_from_label(np.array([200]))


def test_an_unknown_taxonomy_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="scannet200, scannet20"):
        load_taxonomy("scannet100")


def test_the_fingerprint_tells_taxonomies_apart() -> None:
    assert load_taxonomy("scannet200").fingerprint != load_taxonomy("scannet20").fingerprint
