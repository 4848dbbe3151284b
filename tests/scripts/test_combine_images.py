"""combine_images: noise goes down, errors hold, hits vanish, exposures of another field are refused."""

from pathlib import Path

import numpy as np
import pytest

from combine_images import main
from drs import product
from drs.dq import Flag
from drs.schema import load_yaml
from drs.wcs import build_wcs

DETECTOR = {"scale_arcsec": 0.004, "centre_x_arcsec": 0.0, "centre_y_arcsec": 0.0, "rotation_deg": 0.0}
IRIS = Path(__file__).resolve().parents[2] / "config" / "instruments" / "iris.yaml"
OPTIONS = {"method": "exact", "kernel": "square", "pixfrac": 1, "statistic": "mean", "clip": "error"}
OPTIONS |= {"clip_sigma": 5, "clip_gradient": 0.8, "clip_neighbour_sigma": 3, "offsets": "header", "max_offset_pix": 12}


def at(north_pix):
    """Return a WCS moved north by pixels."""
    return build_wcs(150.0, 2.0 + north_pix * 0.004 / 3600, 0.0, DETECTOR, (24, 31))


def test_dithered_images(run, write_rate, tmp_path):
    paths = []
    for k, shift in enumerate((0, 2, -1, 3, 1), 1):
        rate = np.zeros((24, 31))
        rate[12 - shift, 20] = 300.0
        if k == 2:
            rate[5, 5] = 5000.0
        paths.append(write_rate(rate, k, level=2, wcs=at(shift)))
    result = run(main, image=paths, output=tmp_path / "mosaic.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    mosaic = product.read(tmp_path / "mosaic.fits", models="ImagerModel", unit="electron/s")
    assert mosaic.arrays["SCI"].shape == (28, 31)
    assert mosaic.arrays["SCI"][13, 20] == pytest.approx(300, abs=1.5)
    full = mosaic.arrays["CON"] == 5
    assert mosaic.arrays["ERR"][full].mean() == pytest.approx(0.5 / np.sqrt(5), rel=1e-3)
    blank = full.copy()
    blank[11:16, 18:23] = False
    pull = (mosaic.arrays["SCI"] / mosaic.arrays["ERR"])[blank]
    assert pull.std() == pytest.approx(1.0, abs=0.1)
    assert np.nanmax(np.where(blank, mosaic.arrays["SCI"], 0)) < 2
    assert np.count_nonzero(mosaic.arrays["DQ"] & Flag.OUTLIER) == 1
    assert (mosaic.keywords["NCOMBINE"], mosaic.keywords["TOTTIME"], mosaic.keywords["DATALVL"]) == (5, 250.0, 3)
    np.testing.assert_allclose(mosaic.arrays["WHT"][full], 250.0)


def test_images_of_two_fields_are_refused(run, write_rate, tmp_path):
    paths = [write_rate(0, k, level=2, wcs=at(shift)) for k, shift in ((1, 0), (2, 9000))]
    result = run(main, image=paths, output=tmp_path / "mosaic.fits", **OPTIONS)
    assert result.exit_code == 1
    assert "not one field" in result.output


def test_refused_images_are_left_out(run, write_rate, tmp_path):
    paths = [write_rate(1.0, k, level=2, wcs=at(0)) for k in (1, 2, 3)]
    with product.mark_refusal(paths[1], product.read(paths[1]), mark=True):
        raise product.ReductionError("no flat")
    result = run(main, image=paths, output=tmp_path / "mosaic.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    mosaic = product.read(tmp_path / "mosaic.fits")
    assert mosaic.keywords["NCOMBINE"] == 2
    assert mosaic.history == ("left out: SCI_2_2.fits: no flat",)


def test_flags_and_the_correlation_of_noise_reach_the_mosaic(run, write_rate, tmp_path):
    paths = [write_rate(0.0, k, level=2, wcs=at(shift)) for k, shift in ((1, 0), (2, 1.5))]
    image = product.read(paths[0])
    image.arrays["DQ"][7, 9] = Flag.SATURATED
    image.arrays["DQ"][3, 4] = Flag.HOT | Flag.DO_NOT_USE
    product.write(paths[0], image)
    result = run(main, image=paths, output=tmp_path / "mosaic.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    mosaic = product.read(tmp_path / "mosaic.fits")
    assert np.count_nonzero(mosaic.arrays["DQ"] & Flag.SATURATED) == 1
    assert not (mosaic.arrays["DQ"] & Flag.HOT).any()
    assert mosaic.arrays["CON"].max() == 2
    # the second image is spread over two rows with equal parts: half its variance in a pixel
    assert mosaic.keywords["NOISCORR"] == pytest.approx(np.sqrt(2 / 1.5), rel=0.02)


def test_every_method_makes_the_same_field(run, write_rate, tmp_path):
    paths = [write_rate(10.0, k, level=2, wcs=at(shift)) for k, shift in ((1, 0), (2, 2), (3, -1))]
    for method in ("exact", "drizzle", "shift"):
        result = run(main, image=paths, output=tmp_path / f"{method}.fits", **OPTIONS | {"method": method})
        assert result.exit_code == 0, result.output
        mosaic = product.read(tmp_path / f"{method}.fits")
        assert np.nanmean(mosaic.arrays["SCI"]) == pytest.approx(10, abs=0.05)
        assert mosaic.arrays["EXP"].max() == pytest.approx(150.0)
        assert mosaic.keywords["S_RESAMP"] == "COMPLETE"


def test_an_image_wrong_by_degrees_is_left_out(run, write_rate, tmp_path):
    paths = [write_rate(1.0, k, level=2, wcs=at(shift)) for k, shift in ((1, 0), (2, 1), (3, 5 * 3600 / 0.004))]
    result = run(main, image=paths, output=tmp_path / "mosaic.fits", **OPTIONS)
    assert result.exit_code == 0, result.output
    mosaic = product.read(tmp_path / "mosaic.fits")
    assert mosaic.keywords["NCOMBINE"] == 2
    assert mosaic.history == (
        "left out: SCI_2_3.fits: overlaps no other image; correct its RA and DEC in exposures.yaml",
    )


def test_images_of_which_none_overlap_are_refused(run, write_rate, tmp_path):
    paths = [write_rate(1.0, k, level=2, wcs=at(30 * k)) for k in (1, 2)]
    result = run(main, image=paths, output=tmp_path / "mosaic.fits", **OPTIONS)
    assert result.exit_code == 1
    assert "overlap no other image" in result.output


def test_frames_of_mixed_configuration_are_refused(run, write_rate, tmp_path):
    paths = [write_rate(1.0, 1, level=2, wcs=at(0)), write_rate(1.0, 2, level=2, wcs=at(0), FILTER="J")]
    result = run(main, image=paths, output=tmp_path / "mosaic.fits", **OPTIONS)
    assert result.exit_code == 1
    assert "mixed configuration: FILTER is Y in SCI_2_1.fits, J in SCI_2_2.fits" in result.output


def test_masked_images_are_left_out_and_none_left_is_refused(run, write_rate, tmp_path):
    paths = [write_rate(1.0, k, level=2, wcs=at(0)) for k in (1, 2)]
    for n_masked, path in enumerate(paths, 1):
        image = product.read(path)
        image.arrays["DQ"][:] |= np.uint32(Flag.DO_NOT_USE)
        product.write(path, image)
        result = run(main, image=paths, output=tmp_path / "mosaic.fits", **OPTIONS)
        if n_masked == 1:
            assert result.exit_code == 0, result.output
            assert (
                "left out: SCI_2_1.fits: all of its pixels are masked" in product.read(tmp_path / "mosaic.fits").history
            )
    assert result.exit_code == 1
    assert "all pixels of all images are masked" in result.output


def test_images_without_coordinates_are_refused(run, write_rate, tmp_path):
    result = run(main, image=[write_rate(1.0, 1, level=2)], output=tmp_path / "mosaic.fits", **OPTIONS)
    assert result.exit_code == 1
    assert "no coordinates in SCI_2_1.fits" in result.output


def write_stars(write_rate, number, *, true, stated, flux=900.0):
    """Write an image of three stars that lies `true` pixels north and says `stated`."""
    rate, (y, x) = np.zeros((24, 31)), np.indices((24, 31))
    for j, i in ((7, 9), (15, 22), (9, 20), (16, 6)) if flux else ():
        rate += flux * np.exp(-((y - j + true) ** 2 + (x - i) ** 2) / 2.4)
    return write_rate(rate, number, level=2, wcs=at(stated))


def test_measured_offsets_put_stars_where_they_are(run, write_rate, tmp_path):
    paths = [
        write_stars(write_rate, k, true=true, stated=stated)
        for k, true, stated in ((1, 0, 0), (2, 2.3, 5), (3, -1.6, 0))
    ]
    options = OPTIONS | {"offsets": "measured"}
    result = run(main, image=paths, output=tmp_path / "mosaic.fits", **options)
    assert result.exit_code == 0, result.output
    mosaic = product.read(tmp_path / "mosaic.fits")
    assert mosaic.keywords["OFFSETS"] == "MEASURED"
    lines = [line.split() for line in mosaic.history]
    found = {line[1]: (float(line[2]), float(line[3])) for line in lines}
    assert found["SCI_2_2.fits:"] == pytest.approx((0, 2.3 - 5), abs=0.05)
    assert found["SCI_2_3.fits:"] == pytest.approx((0, -1.6), abs=0.05)
    assert np.nanmax(mosaic.arrays["SCI"]) > 700


def test_offsets_of_a_table(run, write_rate, tmp_path):
    paths = [write_stars(write_rate, k, true=true, stated=0) for k, true in ((1, 0), (2, 2), (3, -2))]
    table = tmp_path / "dithers.ecsv"
    rows = "\n".join(f"{k} 0.0 {north * 0.004}" for k, north in ((1, 10), (2, 12), (3, 8)))
    header = "# %ECSV 1.0\n# ---\n# datatype:\n" + "".join(
        f"# - {{name: {name}, datatype: {kind}}}\n"
        for name, kind in (("expnum", "int64"), ("east_arcsec", "float64"), ("north_arcsec", "float64"))
    )
    table.write_text(f"{header}expnum east_arcsec north_arcsec\n{rows}\n")
    result = run(main, image=paths, output=tmp_path / "mosaic.fits", **OPTIONS | {"offsets": table})
    assert result.exit_code == 0, result.output
    mosaic = product.read(tmp_path / "mosaic.fits")
    assert mosaic.keywords["OFFSETS"] == "FILE"
    assert mosaic.arrays["SCI"].shape == (28, 31)
    assert np.nanmax(mosaic.arrays["SCI"]) == pytest.approx(900, rel=0.03)
    table.write_text(table.read_text().replace("\n3 0.0", "\n4 0.0"))
    result = run(main, image=paths, output=tmp_path / "mosaic.fits", **OPTIONS | {"offsets": table})
    assert result.exit_code == 1
    assert "no row of EXPNUM 3" in result.output


def test_images_without_stars_or_structure_cannot_be_measured(run, write_rate, tmp_path):
    paths = [write_stars(write_rate, k, true=0, stated=0, flux=0) for k in (1, 2)]
    result = run(main, image=paths, output=tmp_path / "mosaic.fits", **OPTIONS | {"offsets": "measured"})
    assert result.exit_code == 1
    assert "no offset can be measured" in result.output
    assert "0 stars" in result.output


def test_four_detectors_of_iris_keep_their_gaps(run, write_rate, tmp_path):
    detectors, paths = load_yaml(IRIS)["detectors"], []
    for k, name in enumerate(("IMG1", "IMG2", "IMG3", "IMG4"), 1):
        wcs = build_wcs(150.0, 2.0, 20.0, detectors[name] | {"scale_arcsec": 0.56}, (24, 31))
        paths.append(write_rate(10.0 * k, k, level=2, wcs=wcs, DETECTOR=name))
    result = run(main, image=paths, output=tmp_path / "mosaic.fits", **OPTIONS)
    assert result.exit_code == 1
    assert "mixed configuration: DETECTOR" in result.output
    result = run(main, image=paths, output=tmp_path / "mosaic.fits", mosaic=True, **OPTIONS)
    assert result.exit_code == 0, result.output
    mosaic = product.read(tmp_path / "mosaic.fits")
    assert mosaic.keywords["DETECTOR"] == "MOSAIC"
    # centres lie 17.584 arcsec, 31.4 pixels, apart: rows of 24 leave a gap, columns of 31 hardly
    assert mosaic.arrays["SCI"].shape == (56, 63)
    right, left = mosaic.arrays["SCI"][:, -10], mosaic.arrays["SCI"][:, 10]
    assert np.isnan(right).sum() == pytest.approx(56 - 48, abs=2)
    assert (np.nanmean(right[-20:]), np.nanmean(right[:20])) == pytest.approx((10, 40), abs=0.5)
    assert (np.nanmean(left[-20:]), np.nanmean(left[:20])) == pytest.approx((20, 30), abs=0.5)


def test_a_subarray_takes_its_place_in_the_full_frame(run, write_rate, tmp_path):
    full = write_rate(10.0, 1, level=2, wcs=at(0))
    image = product.read(full)
    image.arrays["DQ"][5:11, 7:15] |= np.uint32(Flag.SUBARRAY)
    image.arrays["SCI"][5:11, 7:15] = 1e4
    product.write(full, image)
    part, window = tmp_path / "sub.fits", (slice(5, 11), slice(7, 15))
    keywords = image.keywords | {"SUBARRAY": "CUSTOM", "SUBARRID": 1, "SUBSTRT1": 8, "SUBSTRT2": 6}
    arrays = {name: array[window] for name, array in image.arrays.items()}
    arrays["SCI"] = np.full((6, 8), 33, np.float32)
    wcs = build_wcs(150.0, 2.0, 0.0, DETECTOR, (24, 31), corner=(6, 8))
    product.write(part, product.replace(image, keywords=keywords, arrays=arrays, wcs=wcs))
    result = run(main, image=[full, part], output=tmp_path / "mosaic.fits", mosaic=True, **OPTIONS)
    assert result.exit_code == 0, result.output
    values = product.read(tmp_path / "mosaic.fits").arrays["SCI"]
    assert values.shape == (24, 31)
    np.testing.assert_allclose(values[window], 33, rtol=1e-5)
    assert np.nanmax(np.where(values == values[5, 7], 0, values)) < 40
