"""Bands of raw exposures give what the whole detector gives; the files behind it are tested with the makers."""

import numpy as np
import pytest
from detector_nights import READOUT, make_times, make_world, write_exposures, write_truth

from drs import readout
from drs.detector import open_maps
from drs.errors import ReductionError
from drs.rawset import open_set

TIMES_S = make_times(4, 5.0)


def test_noise_levels_and_refusals(tmp_path):
    detector = make_world((40, 72))
    darks = write_exposures(tmp_path, detector, TIMES_S, n=3, imtype="DARK")
    write_truth(tmp_path / "refs", detector, "dq")
    keywords = {"DETECTOR": "IMG"}
    with (
        open_set(darks, minimum=3, what="dark") as dark,
        open_maps({"dq": tmp_path / "refs/dq.fits"}, keywords, dark.shape, border_pix=READOUT["border_pix"]) as maps,
    ):
        noise, good = readout.measure_dark_noise(dark, maps, n_channel=4, gain_e_per_dn=np.inf)
        assert np.array_equal(good, detector.active & (detector.dq == 0))
        assert np.sqrt(np.median(noise.variance[good])) == pytest.approx(3.0, rel=0.1)
        levels, read_dn2 = readout.read_levels(dark.ramps, good[:32], slice(0, 32), n_channel=4)
        assert levels.shape == (3, 32, 72)
        assert read_dn2 == pytest.approx(9 / 4, rel=0.1)
        with pytest.raises(ReductionError, match="DARK_3.fits 4; 5 or more are needed".replace(".", "[.]")):
            readout.check_reads(dark, minimum=5)
        with pytest.raises(ReductionError, match="was the lamp on"):
            readout.check_flats(dark, maps, minimum_signal_dn=100, maximum_saturated=0.1)
