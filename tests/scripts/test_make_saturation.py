"""make_saturation: what it refuses; its thresholds are compared with the truth beside make_nonlin."""

import pytest
from detector_nights import READOUT, make_times, make_world, write_exposures, write_truth

from drs import product
from make_saturation import main

SHAPE = (40, 72)
TIMES_S = make_times(9, 8.0)
OPTIONS = {"useafter": "2026-03-01T00:00:00", "minimum": 3, "maximum_saturated": 0.1, **READOUT}
OPTIONS |= {"threshold_of_well": 0.95, "minimum_full": 0.9, "minimum_signal_dn": 1000}


@pytest.mark.parametrize(
    ("light", "n", "message"),
    [
        (0.0, 3, "was the lamp on, and long enough?"),
        (500.0, 3, "of the good pixels were full at the end of these flats, expected 0.9 or more"),
        (20000.0, 3, "of the pixels are full in the second read of a flat"),
        (2000.0, 2, "2 usable saturated flat exposures, at least 3 needed"),
    ],
)
def test_unfit_flats_are_refused(run, tmp_path, light, n, message):
    detector = make_world(SHAPE)
    flats = write_exposures(tmp_path, detector, TIMES_S, n=n, imtype="SATFLAT", light=light)
    places = {"cache": tmp_path, "night_cache": tmp_path, "output": tmp_path / "saturation.fits"}
    manifest = write_truth(tmp_path / "refs", detector, "dq", "bias")
    result = run(main, ramp=flats, manifest=manifest, mark_refusal=True, **places, **OPTIONS)
    assert result.exit_code == 0, result.output
    assert message in product.read(tmp_path / "saturation.fits").refusal
