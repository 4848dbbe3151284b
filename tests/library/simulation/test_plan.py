"""The exposures of every preset are possible: times, pointings, identities."""

from collections import Counter
from datetime import datetime, timedelta

import pytest

from drs.simulation import scene
from drs.simulation.night import load_facts
from drs.simulation.plan import detector_geometry, plan_exposures

FACTS, INSTRUMENTS = load_facts()
OF_CUBES = {"telluric": 1, "flux-star": 1, "science": 2, "sky": 1, "dark": 5}
SPECTRA_OF_DEMO = {("IRIS", "IFS", kind): n for kind, n in {"lenslet-scan": 16, **OF_CUBES}.items()}
SPECTRA_OF_DEMO |= {("Liger", "IFS", kind): n for kind, n in {"flat": 2, "arc": 2, **OF_CUBES}.items()}


def plan(name, **options):
    return plan_exposures(FACTS["presets"][name], FACTS, INSTRUMENTS, **options)


@pytest.mark.parametrize("name", FACTS["presets"])
def test_a_detector_takes_one_exposure_at_a_time(name):
    free = {}
    for exposure in plan(name):
        key = (exposure.keywords["INSTRUME"], exposure.keywords["DETECTOR"])
        assert datetime.fromisoformat(exposure.keywords["EXPDTST"]) > free.get(key, datetime.min)
        free[key] = datetime.fromisoformat(exposure.keywords["EXPDTEND"])


@pytest.mark.parametrize("name", FACTS["presets"])
def test_identities_and_names_are_unique_and_in_one_night(name):
    exposures = plan(name)
    assert len({exposure.identity for exposure in exposures}) == len(exposures)
    assert len({exposure.name for exposure in exposures}) == len(exposures)
    for exposure in exposures:
        start = datetime.fromisoformat(exposure.keywords["EXPDTST"])
        assert datetime(2024, 9, 24, 22) <= start < datetime(2024, 9, 25, 22)
        is_dark_outside = datetime(2024, 9, 25, 5) < start < datetime(2024, 9, 25, 15)
        on_sky = ("science", "sky", "flux-star", "psf-star", "star-field", "telluric")
        assert is_dark_outside == (exposure.sequence["kind"] in on_sky)
        assert 1.0 <= exposure.keywords["AIRMASS"] < 2.0


@pytest.mark.parametrize("name", ["tiny", "demo"])
def test_what_a_small_night_holds(name):
    kinds = Counter((*e.identity[:2], e.sequence["kind"]) for e in plan(name, without=("defects",)))
    n_liger = kinds.pop(("Liger", "IMG", "science"))
    assert kinds.pop(("Liger", "IMG", "dark")) == 5
    spectra = {key: kinds.pop(key) for key in list(kinds) if key[1] == "IFS"}
    per_detector = {"dark": 5, "flat": 5, "science": 5, "sky": 3}
    assert kinds == {("IRIS", d, kind): n for d in ("IMG1", "IMG2") for kind, n in per_detector.items()}
    assert n_liger >= 4
    assert spectra == (SPECTRA_OF_DEMO if name == "demo" else {})
    spoilt = [e for e in plan(name) if e.form in ("truncated", "no-detector") or e.sequence["kind"] == "engineering"]
    assert len(spoilt) == 3
    assert {"3-d", "gzip", "per-read"} <= {e.form for e in plan(name)}
    assert 4 in {e.n_average for e in plan(name)}


def test_times_in_the_header_agree_with_each_other():
    exposure = next(e for e in plan("tiny") if e.identity[0] == "Liger" and e.sequence["kind"] == "science")
    keywords = exposure.keywords
    assert exposure.times_s.shape == (2, 8)
    assert (keywords["NGROUPS"], keywords["NREADS"], keywords["EXPTIME"]) == (2, 8, 70.0)
    start, middle, end = (datetime.fromisoformat(keywords[f"EXPDT{k}"]) for k in ("ST", "MID", "END"))
    assert (end - start).total_seconds() == 160.0
    assert middle - start == end - middle
    moments = {"EXPMJDST": start, "EXPMJDMD": middle, "EXPMJDEN": end}
    for keyword, moment in moments.items():
        assert keywords[keyword] == pytest.approx((moment - datetime(1858, 11, 17)) / timedelta(days=1), abs=1e-9)


def test_a_dither_moves_a_star_by_the_pixels_of_the_preset():
    first, second = [e for e in plan("tiny") if e.identity[:3] == ("IRIS", "IMG1", "SCI")][:2]
    geometry = detector_geometry(FACTS["presets"]["tiny"], INSTRUMENTS, "IRIS", "IMG1")
    assert (geometry["size_y_pix"], geometry["size_x_pix"]) == (80, 96)
    ra, dec = scene.pixel_to_sky(40.0, 30.0, first.pointing, geometry)
    x_pix, y_pix = scene.sky_to_pixel(ra, dec, second.pointing, geometry)
    # the telescope moves by (4.3, -3.6) pixels, so the star moves the other way
    assert (x_pix - 40.0, y_pix - 30.0) == pytest.approx((-4.3, 3.6), abs=1e-3)


def test_without_dithers_all_pointings_are_one():
    pointings = {e.pointing for e in plan("tiny", without=("dithers",)) if e.identity[:3] == ("IRIS", "IMG1", "SCI")}
    assert pointings == {(299.6125, 10.2236, 30.0)}


def test_averaged_reads_have_the_time_of_the_middle():
    (exposure,) = [e for e in plan("tiny") if e.n_average > 1]
    assert exposure.frames_s.shape == (2, 32)
    assert exposure.frames_s[1, :5].tolist() == [5.5, 7.0, 8.5, 10.0, 15.5]
    assert exposure.times_s[0].tolist() == [7.75 + 10.0 * k for k in range(8)]
    keywords = exposure.keywords
    assert (keywords["NREADS"], keywords["NFRAMES"], keywords["FRMTIME"], keywords["EXPTIME"]) == (8, 4, 1.5, 70.0)
    start, end = (datetime.fromisoformat(keywords[f"EXPDT{k}"]) for k in ("ST", "END"))
    assert (end - start).total_seconds() == 160.0
    single = plan("tiny")[0]
    assert single.keywords["NFRAMES"] == 1
    assert "FRMTIME" not in single.keywords


@pytest.mark.parametrize("name", FACTS["presets"])
def test_output_channels_share_out_the_columns_and_have_odd_and_even_ones(name):
    for exposure in plan(name):
        assert exposure.shape[1] % (2 * exposure.keywords["NCHAN"]) == 0
    assert plan(name)[0].keywords["NCHAN"] == (64 if name == "full" else 4)


def test_every_detector_is_in_a_preset_and_a_spectrograph_says_its_mode():
    seen = {e.identity[:2] for name in ("tiny", "detectors") for e in plan(name)}
    assert seen == {(name, detector) for name, facts in INSTRUMENTS.items() for detector in facts["detectors"]}
    modes = {(e.identity[:2], e.keywords["INSTMODE"], e.keywords["OBSNAME"][:3]) for e in plan("detectors")}
    assert modes == {
        (("IRIS", "IMG3"), "IMG", "IMG"),
        (("IRIS", "IMG4"), "IMG", "IMG"),
        (("IRIS", "IFS"), "LENSLET", "LEN"),
        (("Liger", "IFS"), "SLICER", "SLI"),
    }


@pytest.mark.parametrize("name", FACTS["presets"])
def test_guide_windows_lie_on_the_detector_and_are_in_the_header_on_the_sky_only(name):
    for exposure in plan(name, without=()):
        windows = exposure.sequence.get("guide_windows", FACTS["presets"][name]["guide_windows"])
        places = [exposure.keywords.get(f"ODGW{k}PS") for k in range(1, len(windows) + 2)]
        if exposure.sequence["kind"] not in ("science", "sky"):
            assert not any(places)
            continue
        assert places == [*(" ".join(map(str, window)) for window in windows), None]
        for x, y, n_x, n_y in windows:
            assert 4 < x < x + n_x <= exposure.shape[1] - 3
            assert 4 < y < y + n_y <= exposure.shape[0] - 3
    assert not any("ODGW1PS" in e.keywords for e in plan(name, without=("guide_windows",)))
