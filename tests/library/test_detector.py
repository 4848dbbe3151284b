"""References to maps: read by rows, cut to the subarray, flags gathered, misfits refused."""

import gzip
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from ramps import write_references

from drs.detector import build_maps, make_polynomial, open_maps
from drs.dq import Flag
from drs.errors import ReductionError

FULL = (12, 16)
SUBARRAY = {"SUBARRAY": "CUSTOM", "SUBSTRT1": 5, "SUBSTRT2": 3}
NO_RAMP = Flag.NON_SCIENCE | Flag.DO_NOT_USE


def write_maps(folder, **maps):
    """Write references; return {type: path}."""
    write_references(folder, **maps)
    entries = json.loads((folder / "manifest.json").read_text())["references"]
    return {kind: Path(entry["file"]) for kind, entry in entries.items()}


def full(value):
    """Return a full-frame map of one value."""
    return np.full(FULL, value, np.float32)


@pytest.fixture
def paths(tmp_path):
    gain = np.arange(FULL[0] * FULL[1], dtype=np.float32).reshape(FULL) + 1
    dq = np.zeros(FULL, np.uint32)
    dq[2, 4] = Flag.HOT
    maps = {"saturation": gain + 100, "bias": gain + 200, "readnoise": gain}
    return write_maps(tmp_path, gain=gain, dq=dq, nonlin=np.stack([gain, gain, 2 * gain]), **maps)


def read_all(paths, keywords, shape, **options):
    """Return all rows of the maps."""
    with open_maps(paths, keywords, shape, **options) as maps:
        return maps.rows(0, shape[0])


def test_full_frame(paths):
    maps = read_all(paths, {"SUBARRAY": "FULL"}, FULL)
    assert maps.gain_e_per_dn[11, 15] == 12 * 16
    assert maps.saturation_dn[11, 15] == 12 * 16 + 100
    assert maps.bias_dn[11, 15] == 12 * 16 + 200
    assert maps.read_variance_e2[0, 1] == 4
    assert maps.dq[2, 4] == Flag.HOT
    assert maps.nonlin_coefficients.shape == (3, *FULL)
    assert all(array.dtype == np.float32 for array in maps[1:])


def test_rows_are_those_of_the_whole(paths):
    whole = read_all(paths, {}, FULL)
    with open_maps(paths, {}, FULL) as maps:
        assert maps.shape == FULL
        for start, stop in ((0, 1), (3, 7), (11, 12)):
            for part, array in zip(maps.rows(start, stop), whole, strict=True):
                np.testing.assert_array_equal(part, array[..., start:stop, :])
                assert part.flags.c_contiguous


def test_without_references_nothing_is_known(tmp_path):
    maps = read_all({}, {}, FULL)
    assert np.isinf(maps.saturation_dn).all()
    assert (maps.gain_e_per_dn == 1).all()
    assert maps.nonlin_coefficients.shape == (0, *FULL)
    np.testing.assert_allclose(maps.read_variance_e2, 1 / 12)


@pytest.mark.parametrize("packed", [False, True])
def test_subarray_is_cut_from_full_frame_maps(paths, packed):
    if packed:
        paths = {kind: pack(path) for kind, path in paths.items()}
    maps = read_all(paths, SUBARRAY, (4, 7))
    assert maps.gain_e_per_dn.shape == (4, 7)
    assert maps.gain_e_per_dn[0, 0] == 2 * 16 + 4 + 1
    assert maps.nonlin_coefficients[2, 3, 6] == 2 * (5 * 16 + 10 + 1)
    assert maps.dq[0, 0] == Flag.HOT
    assert maps.cut(slice(1, 3)).gain_e_per_dn.flags.c_contiguous


def pack(path):
    """Return a gzipped copy of a file."""
    packed = path.with_suffix(".fits.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    return packed


def test_tile_compressed_references(paths):
    whole = read_all(paths, {}, FULL)
    for path in paths.values():
        with fits.open(path) as hdus:
            options = {"compression_type": "GZIP_2", "quantize_level": 0}
            images = [fits.CompImageHDU(hdu.data, hdu.header, **options) if hdu.is_image else hdu for hdu in hdus[1:]]
            fits.HDUList([hdus[0], *images]).writeto(path.with_suffix(".fits.fz"))
    with open_maps({kind: path.with_suffix(".fits.fz") for kind, path in paths.items()}, {}, FULL) as maps:
        for part, array in zip(maps.rows(3, 8), whole, strict=True):
            np.testing.assert_array_equal(part, array[..., 3:8, :])


@pytest.mark.parametrize(
    ("keywords", "shape", "message"),
    [
        ({}, (4, 7), r"gain reference .*shape \(12, 16\), the exposure \(4, 7\)"),
        ({"SUBARRAY": "CUSTOM"}, (4, 7), "needs SUBSTRT1 and SUBSTRT2"),
        (SUBARRAY | {"SUBSTRT1": 11}, (4, 7), r"shape \(12, 16\), too small"),
        (SUBARRAY | {"SUBSTRT2": 0}, (4, 7), "needs SUBSTRT1 and SUBSTRT2"),
    ],
)
def test_maps_that_do_not_hold_the_exposure_are_refused(paths, keywords, shape, message):
    with pytest.raises(ReductionError, match=message):
        read_all(paths, keywords, shape)


@pytest.mark.parametrize("kind", ["dq", "saturation", "bias", "nonlin", "gain", "readnoise"])
def test_one_map_of_another_shape_is_named(tmp_path, paths, kind):
    shape = (3, 11, 16) if kind == "nonlin" else (11, 16)
    (tmp_path / "other").mkdir()
    other = write_maps(tmp_path / "other", **{kind: np.ones(shape, np.uint32 if kind == "dq" else np.float32)})
    with pytest.raises(ReductionError, match=rf"{kind} reference .*has shape \(11, 16\), the exposure \(12, 16\)"):
        read_all(paths | other, {}, FULL)


@pytest.mark.parametrize("kind", ["saturation", "bias", "nonlin", "gain", "readnoise"])
def test_one_map_of_another_unit_is_named(paths, kind):
    extension = "COEFFS" if kind == "nonlin" else "SCI"
    fits.setval(paths[kind], "BUNIT", value="electron/s", extname=extension)
    with pytest.raises(
        ReductionError, match=rf"(?s){kind}.fits is not a valid .*{extension}.unit: 'electron/s' is not"
    ):
        read_all(paths, {}, FULL)


def test_a_reference_of_another_type_is_refused(paths):
    with pytest.raises(ReductionError, match="is a BiasModel, not GainModel"):
        read_all({"gain": paths["bias"]}, {}, FULL)


def test_what_is_no_calibration_is_flagged(tmp_path):
    maps = {"gain": full(2), "readnoise": full(5), "saturation": full(100), "bias": full(7)}
    maps["nonlin"] = np.stack([full(0), full(1.5)])
    bad = {"gain": 0, "readnoise": -1, "saturation": np.nan, "bias": np.inf}
    for column, (kind, value) in enumerate(bad.items()):
        maps[kind][3, column] = value
    maps["readnoise"][3, 4] = np.nan
    maps["nonlin"][0, 3, 5] = np.nan
    found = read_all(write_maps(tmp_path, **maps), {}, FULL)
    noise = Flag.UNRELIABLE_SLOPE | Flag.DO_NOT_USE
    flags = [Flag.NO_GAIN_VALUE, noise, Flag.NO_SAT_CHECK, Flag.UNRELIABLE_BIAS, noise, Flag.NO_LIN_CORR]
    assert found.dq[3, :6].tolist() == flags
    assert np.count_nonzero(found.dq) == 6
    np.testing.assert_array_equal(np.isnan(found.read_variance_e2[3, :6]), [False, True, False, False, True, False])
    np.testing.assert_array_equal(np.isnan(found.gain_e_per_dn[3, :6]), [True] + [False] * 5)
    assert (found.saturation_dn[3, 2], found.bias_dn[3, 3]) == (np.inf, 0)
    assert found.nonlin_coefficients[:, 3, 5].tolist() == [0, 1]


def test_digitisation_without_a_gain_is_no_fault_of_the_read_noise():
    gain = full(2)
    gain[0, 0] = np.nan
    maps = build_maps(FULL, gain_e_per_dn=gain)
    assert maps.dq[0, 0] == Flag.NO_GAIN_VALUE
    assert np.isnan(maps.read_variance_e2[0, 0])


@pytest.mark.parametrize("kind", ["saturation", "gain", "readnoise"])
@pytest.mark.parametrize("value", [np.nan, -3])
def test_a_map_without_values_in_most_pixels_is_refused(tmp_path, kind, value):
    values = full(4)
    values[:6] = value
    paths = write_maps(tmp_path, **{kind: values})
    read_all(paths, {}, FULL)  # half of the pixels
    values[6, 0] = value
    paths = write_maps(tmp_path, **{kind: values})
    with pytest.raises(ReductionError, match=rf"{kind}.fits cannot be used: 97 of 192 pixels .*override: {{{kind}"):
        read_all(paths, {}, FULL)
    read_all(paths, {"SUBARRAY": "CUSTOM", "SUBSTRT1": 2, "SUBSTRT2": 4}, (9, 16 - 1))


def test_both_conventions_of_the_non_linearity_are_one(tmp_path):
    rng = np.random.default_rng(3)
    factors = rng.normal(size=(5, *FULL)).astype(np.float32) * np.float32(0.01)
    x = rng.uniform(0, 2, FULL)
    expected = (1 + sum(c * x**k for k, c in enumerate(factors.astype(np.float64)))) * x
    polynomial = make_polynomial(factors)
    assert polynomial.shape == (6, *FULL)
    np.testing.assert_allclose(sum(c * x**k for k, c in enumerate(polynomial)), expected, rtol=1e-6)
    paths = write_maps(tmp_path, nonlin=factors)
    np.testing.assert_array_equal(read_all(paths, {}, FULL).nonlin_coefficients, factors)
    fits.setval(paths["nonlin"], "NLCONV", value="POLYNOMIAL")
    np.testing.assert_array_equal(read_all(paths, {}, FULL).nonlin_coefficients, factors)
    fits.setval(paths["nonlin"], "NLCONV", value="FACTOR")
    np.testing.assert_array_equal(read_all(paths, {}, FULL).nonlin_coefficients, polynomial)
    fits.setval(paths["nonlin"], "NLCONV", value="OTHER")
    with pytest.raises(ReductionError, match=r"keywords.NLCONV: 'OTHER' is not one of"):
        read_all(paths, {}, FULL)


def test_a_factor_that_is_no_number_is_no_correction(tmp_path):
    factors = np.full((2, *FULL), 0.25, np.float32)
    factors[1, 4, 5] = np.nan
    paths = write_maps(tmp_path, nonlin=factors)
    fits.setval(paths["nonlin"], "NLCONV", value="FACTOR")
    maps = read_all(paths, {}, FULL)
    assert maps.nonlin_coefficients[:, 4, 5].tolist() == [0, 1, 0]
    assert maps.nonlin_coefficients[:, 4, 6].tolist() == [0, 1.25, 0.25]
    assert maps.dq[4, 5] == Flag.NO_LIN_CORR


@pytest.mark.parametrize("block", [1, 5, 12])
def test_guide_windows_and_reference_pixels_are_flagged(paths, block):
    keywords = {"ODGW2PS": "6 4 3 5", "ODGW2ST": "GUIDE", "ODGW1PS": "9 9 2 2", "ODGW1ST": "OFF"}
    expected = np.full(FULL, NO_RAMP | Flag.REFERENCE_PIXEL, np.uint32)
    expected[2:-2, 2:-2] = 0
    expected[3:8, 5:8] |= np.uint32(NO_RAMP)
    expected[2, 4] |= np.uint32(Flag.HOT)
    with open_maps(paths, keywords, FULL, border_pix=2) as maps:
        parts = [maps.rows(start, min(start + block, 12)).dq for start in range(0, 12, block)]
    np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_a_subarray_has_its_part_of_windows_and_border(paths):
    keywords = SUBARRAY | {"SUBSTRT1": 1, "ODGW1PS": "2 5 3 20", "ODGW1ST": "OFF", "ODGW2PS": "6 4 3 5"}
    dq = read_all(paths, keywords, (4, 7), border_pix=2).dq
    expected = np.zeros((4, 7), np.uint32)
    expected[:, :2] = NO_RAMP | Flag.REFERENCE_PIXEL
    expected[1:, 5:] = NO_RAMP
    expected[0, 4] = Flag.HOT
    np.testing.assert_array_equal(dq, expected)


def test_a_window_outside_of_the_detector_is_refused(paths):
    with pytest.raises(ReductionError, match=r"ODGW1PS = '14 1 4 4'.*16 columns and 12 rows"):
        read_all(paths, SUBARRAY | {"ODGW1PS": "14 1 4 4"}, (4, 7))


@pytest.mark.parametrize("dtype", ["u1", "i2"])
def test_pixels_of_subarrays_are_flagged(dtype):
    subarrays = np.zeros(FULL, dtype)
    subarrays[3:6, 2:9] = 1
    subarrays[8:, 10:] = 10
    with open_maps({}, {}, FULL, subarray_map=subarrays) as maps:
        dq = np.concatenate([maps.rows(0, 4).dq, maps.rows(4, 12).dq])
    np.testing.assert_array_equal(dq, np.where(subarrays > 0, np.uint32(Flag.SUBARRAY), np.uint32(0)))


@pytest.mark.parametrize(
    ("subarrays", "message"),
    [
        (np.full(FULL, 11, "u1"), "SUBARR_MAP holds numbers from 11 to 11, expected 0"),
        (np.full(FULL, -1, "i2"), "SUBARR_MAP holds numbers from -1 to -1"),
        (np.zeros((12, 15), "u1"), r"SUBARR_MAP is uint8 of shape \(12, 15\), expected integers of shape \(12, 16\)"),
        (np.zeros(FULL, "f4"), "SUBARR_MAP is float32"),
    ],
)
def test_a_map_of_subarrays_that_makes_no_sense_is_refused(subarrays, message):
    with pytest.raises(ReductionError, match=message):
        read_all({}, {}, FULL, subarray_map=subarrays)


def test_only_the_rows_asked_for_are_in_memory(tmp_path):
    gain = np.full((400, 2000), 2, np.float32)
    paths = write_maps(tmp_path, gain=gain, readnoise=gain, nonlin=np.stack([gain] * 4))
    for _ in range(2):
        tracemalloc.start()
        with open_maps(paths, {}, gain.shape) as maps:
            maps.rows(30, 34)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < gain.nbytes / 2


def test_a_threshold_that_is_not_positive_is_no_check_and_noise_is_at_least_that_of_rounding():
    maps = build_maps(
        (2, 3), saturation_dn=np.array([[0, -1, 5], [1, 2, 3]], "f4"), read_noise_e=np.zeros((2, 3), "f4")
    )
    assert (maps.dq == np.array([[Flag.NO_SAT_CHECK] * 2 + [0], [0] * 3])).all()
    assert np.isinf(maps.saturation_dn[0, :2]).all()
    np.testing.assert_allclose(maps.read_variance_e2, 1 / 12, rtol=1e-6)


def test_a_subarray_reference_of_another_place_is_refused(tmp_path):
    paths = write_maps(tmp_path, gain=np.ones((12, 16), np.float32))
    fits.setval(paths["gain"], "SUBSTRT1", value=1)
    fits.setval(paths["gain"], "SUBSTRT2", value=1)
    place = {"SUBARRAY": "CUSTOM", "SUBSTRT1": 501, "SUBSTRT2": 901, "DETXSIZE": 2048, "DETYSIZE": 2048}
    with pytest.raises(ReductionError, match=r"begins at SUBSTRT1, SUBSTRT2 = \[1, 1\]"):
        read_all(paths, place, (12, 16))
    read_all(paths, place | {"SUBSTRT1": 1, "SUBSTRT2": 1}, (12, 16))


def test_a_polynomial_of_a_constant_is_refused(tmp_path):
    paths = write_maps(tmp_path, nonlin=np.ones((1, 12, 16), np.float32))
    with pytest.raises(ReductionError, match="one coefficient per pixel"):
        read_all(paths, {}, (12, 16))
