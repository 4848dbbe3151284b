"""Members of a combination, and what one dark does to all of them."""

import numpy as np
import pytest
from images import SHAPE, make_image

from drs import product
from drs.errors import ReductionError
from drs.members import keep_good, scale_image, share_dark, shift_image, stack_images


def make_member(shape=SHAPE, refusal=None):
    """Return a product with an array, refused or not."""
    keywords = {"DATAQUAL": "BAD" if refusal else "GOOD"}
    history = (f"REFUSED: {refusal}",) if refusal else ()
    return product.Product(keywords, {"SCI": np.zeros(shape, np.float32)}, history=history)


def test_refused_members_are_left_out_with_their_reason():
    members = [make_member(), make_member((1, 1), refusal="cut"), make_member()]
    good, left_out = keep_good(members, ["a", "b", "c"], minimum=2, what="dark")
    assert (good, left_out) == ([0, 2], ["left out: b: cut"])
    with pytest.raises(ReductionError, match=r"2 usable dark exposures, at least 3 needed \(left out: b: cut\)"):
        keep_good(members, ["a", "b", "c"], minimum=3, what="dark")


def test_members_of_different_shapes_are_named():
    with pytest.raises(ReductionError, match=r"different shapes.*'b': \(3, 4\)"):
        keep_good([make_member(), make_member((3, 4))], ["a", "b"], minimum=2, what="dark")


def test_the_error_of_a_shared_dark_does_not_average_out():
    rng = np.random.default_rng(9)
    n_member, own, dark_error, n = 5, 2.0, 1.5, 40_000
    means = rng.normal(0, own, (n_member, n)).mean(axis=0) - rng.normal(0, dark_error, n)
    var_dark = np.full(SHAPE, dark_error**2, np.float32)
    images = [make_image(10.0, np.hypot(own, dark_error))._replace(var_dark=var_dark) for _ in range(n_member)]
    _, variance, _ = stack_images(images)
    total, shared = share_dark(variance.sum(axis=0) / n_member**2, images)
    assert np.sqrt(total[0, 0]) == pytest.approx(means.std(), rel=0.02)
    assert shared[0, 0] == pytest.approx(dark_error**2)


def test_images_are_scaled_and_shifted_with_their_errors():
    image = make_image(10.0, 2.0)._replace(var_dark=np.full(SHAPE, 1.0, np.float32))
    scaled = shift_image(scale_image(image, 0.5), 3.0)
    assert (scaled.rate[0, 0], scaled.error[0, 0], scaled.var_dark[0, 0]) == (8.0, 1.0, 0.25)
