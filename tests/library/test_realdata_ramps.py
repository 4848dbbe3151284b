"""Ramps of real detectors: a JWST/FGS H2RG guide star in six resets, and three HST WFC3/IR ramps of stars."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner
from ramps import FIT_OPTIONS, reduce_reads, write_ramp, write_references

import fit_ramp
from drs import product
from drs.dq import Flag
from drs.ramp import METHODS

REALDATA = Path(__file__).resolve().parents[2].parent / "shared" / "realdata"
FGS = REALDATA / "jwst_fgs_acq1_ramp" / "jw01019001001_gs-acq1_2022117003102_uncal.fits"
WFC3 = REALDATA / "hst_wfc3ir_ima"
pytestmark = pytest.mark.skipif(not REALDATA.is_dir(), reason=f"no real data in {REALDATA}")

TGROUP_S = 0.364
CDS_NOISE_DN = 10.38
APERTURE_PIX = 8
# file, flux r < 8 px in e-/s of the reads, READNSEA in e- (README of the data)
RAMPS = [
    ("iccz11q4q", (33618, 33217, 33473)),
    ("ibxy07p9q", (89845, 89349, 90423)),
    ("ibxy01z8q", (88382, 88531, 87853)),
]
READNSEA_E = 20.2


def distance(image):
    """Return the distance of every pixel from the brightest one."""
    y, x = np.indices(image.shape)
    peak_y, peak_x = np.unravel_index(np.nanargmax(image), image.shape)
    return np.hypot(y - peak_y, x - peak_x)


def aperture_flux(image, radius, level):
    return float((image - level)[radius < APERTURE_PIX].sum())


def deviation(values):
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


@pytest.fixture(scope="module")
def fgs_rates(tmp_path_factory):
    """Return rate images of all six resets together and of each alone, made by the command."""
    folder = tmp_path_factory.mktemp("fgs")
    reads = fits.getdata(FGS, "SCI")
    shape = reads.shape[2:]
    noise = np.full(shape, CDS_NOISE_DN / np.sqrt(2), np.float32)
    manifest = write_references(folder, dq=np.zeros(shape, np.uint32), gain=np.ones(shape, "f4"), readnoise=noise)
    times_s = TGROUP_S * np.tile([1.0, 2.0], (len(reads), 1))
    options = FIT_OPTIONS | {"manifest": manifest, "cache": folder, "night-cache": folder, "method": "cds"}
    options["output"] = folder / "rate.fits"
    rates = []
    for groups in (slice(None), *(slice(k, k + 1) for k in range(len(reads)))):
        ramp = write_ramp(folder / "ramp.fits", reads[groups], times_s[groups], SUBARRAY="CUSTOM")
        arguments = [text for key, value in options.items() for text in (f"--{key}", str(value))]
        skipped = [f"--skip-step={step}" for step in ("saturation", "bias", "nonlin")]
        result = CliRunner().invoke(fit_ramp.main, [*arguments, *skipped, "--ramp", str(ramp)])
        assert result.exit_code == 0, result.output
        rates.append(product.read(folder / "rate.fits"))
    return rates[0], rates[1:]


def test_fgs_star_has_the_flux_of_the_guider_cds_step(fgs_rates):
    _, singles = fgs_rates
    fluxes = []
    for rate in singles:
        image = rate.arrays["SCI"]
        fluxes.append(aperture_flux(image, distance(image), np.median(image)))
    np.testing.assert_allclose(np.mean(fluxes), 2.389e6, rtol=0.005)
    expected = np.array([868893, 869297, 867822, 866642, 870626, 875097]) / TGROUP_S
    np.testing.assert_allclose(fluxes, expected, rtol=0.001)
    assert np.std(fluxes, ddof=1) / np.mean(fluxes) < 0.004


def test_fgs_combination_is_the_mean_of_its_resets(fgs_rates):
    together, singles = fgs_rates
    stack = np.stack([rate.arrays["SCI"] for rate in singles])
    whole = together.arrays["DQ"] == 0  # no reset left out for a jump
    assert whole.mean() > 0.99
    np.testing.assert_allclose(together.arrays["SCI"][whole], stack.mean(axis=0)[whole], rtol=1e-5, atol=0.01)
    assert together.keywords["NGROUPS"] == 6
    assert together.keywords["TOTTIME"] == pytest.approx(6 * TGROUP_S)


def test_fgs_noise_is_what_the_errors_say(fgs_rates):
    together, singles = fgs_rates
    background = distance(together.arrays["SCI"]) > 20
    stack = np.stack([rate.arrays["SCI"][background] for rate in singles])
    measured_dn = TGROUP_S * np.median(stack.std(axis=0, ddof=1))
    assert measured_dn == pytest.approx(10.44, rel=0.02)
    errors = [np.median(rate.arrays["ERR"][background]) for rate in singles]
    np.testing.assert_allclose(np.multiply(errors, TGROUP_S), 10.4, rtol=0.05)
    error = np.median(together.arrays["ERR"][background])
    assert error == pytest.approx(np.mean(errors) / np.sqrt(6), rel=0.01)


def read_wfc3(name):
    """Return reads in e- (1, 4, ny, nx), their times, and good background pixels."""
    with fits.open(WFC3 / f"{name}_ima.fits") as hdus:
        images = [hdus["SCI", version] for version in (4, 3, 2, 1)]
        times_s = np.array([[image.header["SAMPTIME"] for image in images]])
        reads = np.stack([image.data * time for image, time in zip(images, times_s[0], strict=True)])
        flagged = np.bitwise_or.reduce([hdus["DQ", version].data for version in (1, 2, 3)]) != 0
        archive = np.array(hdus["SCI", 1].data, np.float32)
    active = np.zeros(flagged.shape, bool)
    active[5:-5, 5:-5] = True
    return reads[np.newaxis].astype(np.float32), times_s, active & ~flagged, archive


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "fluxes"), RAMPS)
def test_wfc3_rates_and_noise(name, fluxes, method):
    reads, times_s, good, archive = read_wfc3(name)
    noise = np.full(good.shape, READNSEA_E / np.sqrt(2), np.float32)
    fit, error = reduce_reads(reads, times_s, read_noise_e=noise, method=method, threshold=4.5)
    radius = distance(np.where(good, archive, 0))
    star = aperture_flux(fit.rate, radius, np.median(fit.rate[good]))
    assert star == pytest.approx(np.mean(fluxes), rel=0.02)
    assert star == pytest.approx(aperture_flux(archive, radius, np.median(archive[good])), rel=0.01)
    background = good & (radius > 60)
    cds_noise = [deviation(difference[background]) for difference in np.diff(reads[0], axis=0)]
    np.testing.assert_allclose(cds_noise, READNSEA_E, rtol=0.02)
    assert deviation(fit.rate[background]) == pytest.approx(np.median(error[background]), rel=0.02)
    assert (fit.dq[background] & Flag.JUMP_DET != 0).mean() < 0.01


def test_expected_numbers_are_those_of_the_data():
    header = fits.getheader(FGS)
    assert header["TGROUP"] == pytest.approx(TGROUP_S)
    assert fits.getheader(WFC3 / f"{RAMPS[0][0]}_ima.fits")["READNSEA"] == pytest.approx(READNSEA_E)
