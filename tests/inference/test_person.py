"""The size of a person."""

import pytest

from langpose_dist.inference.person import choose_person, limb_total_of


def test_limbs_add_up_to_those_of_an_adult() -> None:
    by_hand = 2 * (0.133 + 0.443 + 0.454 + 0.151 + 0.279 + 0.252) + 0.233 + 0.257 + 0.121 + 0.115
    assert limb_total_of(1.70) == pytest.approx(by_hand)
    assert limb_total_of(0.85) == pytest.approx(by_hand / 2)


def test_what_is_known_best_counts() -> None:
    assert choose_person("camera", None, None).limb_total is None
    assert choose_person("camera", None, 1.70).limb_total == pytest.approx(limb_total_of(1.70))
    assert choose_person("image_25d", 3.9, None).limb_total == 3.9
    assert choose_person("image_25d", 3.9, 1.5).source.endswith("1.5 m, as stated")
    assert choose_person("image_25d", None, None).source.endswith("assumed")
