"""Sets of raw exposures: groups of equal ramps, facts of each exposure, lists of reads."""

import pytest
from detector_nights import make_times, make_world, write_exposures

from drs.errors import MachineError, ReductionError
from drs.rawset import group_equal, open_set, read_header, split_bands, unchanged


@pytest.fixture
def exposures(tmp_path):
    detector = make_world((40, 72))
    return write_exposures(tmp_path, detector, make_times(3, 5.0), n=3, imtype="DARK")


def test_bands_cover_all_rows():
    assert [(band.start, band.stop) for band in split_bands(70)] == [(0, 32), (32, 64), (64, 70)]


def test_equal_ramps_are_grouped(exposures):
    with open_set(exposures, minimum=3, what="dark") as dark:
        assert dark.shape == (40, 72)
        assert group_equal(dark.ramps, [100.0, 200.0, 105.0], tolerance=0.1) == [[0, 2], [1]]


def test_facts_hold_and_corrections_are_in_the_history(exposures):
    entry = {"corrections": [{"set": {"READMODE": "FAST"}, "reason": "wrong"}], "keys": {"SEMID": "2030A", "X": None}}
    with open_set(exposures, [entry] * 3, minimum=3, what="dark") as dark:
        assert {header["READMODE"] for header in dark.keywords} == {"FAST"}
        assert len(dark.history) == 1
        assert dark.keywords[0]["SEMID"] == "2026A"


def test_damaged_exposures_are_left_out_and_named(exposures, tmp_path):
    cut = tmp_path / "cut.fits"
    cut.write_bytes(exposures[0].read_bytes()[:3000])
    with open_set([cut, *exposures], minimum=3, what="dark") as dark:
        assert dark.left_out[0].startswith("left out: cut.fits: ")
    assert read_header([cut, exposures[1]])["EXPNUM"] in (1, 2)
    bad = tmp_path / "bad.fits"
    bad.write_text("no FITS")
    with pytest.raises(ReductionError, match=r"no exposure can be read \(bad.fits: "):
        read_header([bad])


def test_an_exposure_that_vanishes_is_not_left_out_for_good(exposures, tmp_path):
    made = tmp_path / "dark.fits"
    (tmp_path / "reads.txt").write_text(f"{exposures[0]}\n")
    with pytest.raises(MachineError, match="changed meanwhile"), unchanged([tmp_path / "reads.txt"], made):
        exposures[0].unlink()
    with pytest.raises(FileNotFoundError), open_set(exposures, minimum=1, what="dark"):
        pass
