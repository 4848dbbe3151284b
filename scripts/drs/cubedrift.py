"""Cubes as products: how their image drifts with the wavelength, by telemetry, the night's fibre or their own source.

What the ADC leaves and what the optics disperse move the image across the spaxels. Level 2 states the drift as
Legendre polynomials of the bin (ADCY0 ... ADCX3) and stays as it is: spaxels are resampled once, where cubes are
combined, and there the drift of each bin is taken out with its offset.
"""

import logging
from dataclasses import replace

import numpy as np

from drs.apertures import find_peaks
from drs.cube import find_wavelengths
from drs.dispersion import fit_drift, is_significant, measure_drift, measure_size
from drs.errors import ReductionError
from drs.whitelight import show_as_image

logger = logging.getLogger(__name__)
METHODS = ("auto", "telemetry", "measured", "fibre", "none")
TELEMETRY = ("ADCRESID", "ADCRESPA")  # mas per um, direction east of north
RADIUS_PIX = 4.0  # of the spaxels of a source
THRESHOLD_SIGMA = 10.0
MOST_RMS_PIX = 0.1  # of a point source about its drift; others have colours that move
MAS_PER_DEG = 3.6e6
DIGITS = 6


def state_drift(cube, fibre, *, adc, order, reason):
    """Return a cube whose header states by how much its image drifts with the wavelength, and from what it is known.

    Parameters
    ----------
    cube : Product
        IFUCubeModel with its WCS, less the sky.
    fibre : Product or None
        FibreModel: what the optics disperse.
    adc : {'auto', 'telemetry', 'measured', 'fibre', 'none'}
        auto: what the header states of the ADC and the fibre shows of the optics; else the drift of the brightest
        source; else the fibre alone.
    order : int
        Of the polynomials.
    reason : str
        Why there is no fibre.
    """
    if adc == "none" or cube.keywords.get("IMTYPE") != "SCI":
        return cube.with_step("adc", skipped="by configuration" if adc == "none" else "not for this kind of exposure")
    reasons = []
    if adc in ("auto", "telemetry"):
        if all(key in cube.keywords for key in TELEMETRY):
            air, optics = read_telemetry(cube), read_fibre(cube, fibre)
            source = "telemetry" if fibre is None else "telemetry, fibre"
            return _with_drift(cube, fit_drift(air + optics, order), source, order=order)
        reasons.append(f"no {', '.join(TELEMETRY)} in the header")
    if adc in ("auto", "measured"):
        try:
            drift = _measure(cube, order)
        except ReductionError as error:
            reasons.append(str(error))
        else:
            logger.info("drift of %.3f spaxels, +- %.3f", drift.largest_pix, drift.error_pix)
            known = drift.coefficients if is_significant(drift) else 0 * drift.coefficients
            stated = {"ADCERR": round(drift.error_pix, DIGITS)}
            return _with_drift(cube, known, "source", order=order, **stated)
    if adc in ("auto", "fibre"):
        if fibre is not None:
            return _with_drift(cube, fit_drift(read_fibre(cube, fibre), order), "fibre", order=order)
        reasons.append(reason)
    return cube.with_step("adc", skipped="; ".join(reasons))


def read_telemetry(cube):
    """Return the drift (bin, 2), (y, x) spaxels, that the header states of the air: a line in the wavelength."""
    size_mas, angle = cube.keywords["ADCRESID"], np.deg2rad(cube.keywords["ADCRESPA"])
    wave_um = find_wavelengths(cube)
    sky_deg = np.outer(wave_um - wave_um.mean(), [np.sin(angle), np.cos(angle)]) * size_mas / MAS_PER_DEG
    turn = np.array([[cube.wcs["PC1_1"], cube.wcs["PC1_2"]], [cube.wcs["PC2_1"], cube.wcs["PC2_2"]]])
    matrix = np.diag([cube.wcs["CDELT1"], cube.wcs["CDELT2"]]) @ turn
    return np.linalg.solve(matrix, sky_deg.T).T[:, ::-1]


def read_fibre(cube, fibre):
    """Return the drift (bin, 2) of a FibreModel at the bins of a cube, NaN beyond them; 0 without one."""
    if fibre is None:
        return np.zeros((len(cube.arrays["SCI"]), 2))
    known = fibre.arrays["WAVELENGTH"][0]
    wave_um = find_wavelengths(cube)
    rows = [np.interp(wave_um, known, row.astype(float), left=np.nan, right=np.nan) for row in fibre.arrays["SCI"]]
    return np.stack(rows, axis=1)


def _measure(cube, order):
    """Return the Drift of the brightest source of a cube; refuse one that is none."""
    white = show_as_image(cube).image
    found = find_peaks(white.rate, white.error, white.unusable, threshold_sigma=THRESHOLD_SIGMA, radius_pix=RADIUS_PIX)
    if not found:
        raise ReductionError("no source is bright enough")
    planes = (cube.arrays[name] for name in ("SCI", "ERR", "DQ"))
    drift = measure_drift(*planes, found[0], order=order, radius_pix=RADIUS_PIX)
    if drift.rms_pix > MOST_RMS_PIX:
        raise ReductionError(f"the source scatters by {drift.rms_pix:.2f} spaxels, at most {MOST_RMS_PIX:g} allowed")
    return drift


def _with_drift(cube, coefficients, source, *, order, **stated):
    """Return a cube that states its drift."""
    rows = {f"ADC{axis}{k}": round(float(c), DIGITS) for axis, row in zip("YX", coefficients, strict=True)
            for k, c in enumerate(row)}  # fmt: skip
    stated |= {"ADCFROM": source, "ADCSIZE": round(measure_size(coefficients), DIGITS)}
    return replace(cube, keywords=cube.keywords | rows | stated).with_step("adc", source=source, order=order)
