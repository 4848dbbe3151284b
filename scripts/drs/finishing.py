"""How a cube begins and ends, whatever took its spectra: the rate with its references; coordinates, sky, air, flux."""

from dataclasses import replace

from drs import product
from drs.calibration import explain_absence, read_optional, with_references
from drs.cube import SKIES, divide_telluric, subtract_sky
from drs.cubedrift import state_drift
from drs.cubeflux import calibrate_flux
from drs.cubewcs import assign_wcs
from drs.references import read_manifest
from drs.spectralrefs import check_configuration

BY_FIBRE = ("auto", "telemetry", "fibre")


def open_rate(rate, manifest):
    """Return a Level 1 rate of a spectrograph (Product) as the Level 2 cube that it will be, its references named."""
    exposure = product.read(rate, models="IFUImageModel", unit="electron/s")
    exposure = replace(exposure, keywords=exposure.keywords | {"DATALVL": 2, "DATAMODL": "IFUCubeModel"})
    return with_references(exposure, read_manifest(manifest))


def finish_cube(cube, grid_um, instrument, field, *, references, sky, parameters, native=None):
    """Return the cube with coordinates, less sky and air, in flux densities, its drift stated, and its references.

    Parameters
    ----------
    cube : Product
        IFUCubeModel without coordinates, e-/s.
    grid_um : ndarray, float64, (bin)
        Middles of its bins.
    instrument : dict
        Content of config/instruments/*.yaml.
    field : dict
        From `drs.spectralrefs.find_field`.
    references : (Path, list of Path)
        Manifest of the exposure; CRDS caches, the night's own first.
    sky : Product or None
        Cube of the sky.
    parameters : dict
        sky_method, blank_fraction, telluric, flux, adc, adc_order: settings of the extraction.
    native : tuple of ndarray, optional
        As of `drs.cube.subtract_sky`.

    Raises
    ------
    ReductionError
        No pointing; a sky or a reference that does not fit.
    """
    manifest, roots = references
    if sky is not None:
        check_configuration(sky.keywords, cube.keywords, name="the sky cube")
    cube = assign_wcs(cube, instrument, field, grid_um)
    options = {key: parameters[key] for key in ("sky_method", "blank_fraction")}
    cube = subtract_sky(cube, sky, native=native, **options)
    steps = {"telluric": divide_telluric, "flux": calibrate_flux}
    wanted = [reftype for reftype in steps if parameters[reftype]] + ["fibre"] * (parameters["adc"] in BY_FIBRE)
    found, paths = read_optional(manifest, wanted, roots)
    for reftype, step in steps.items():
        reason = explain_absence(read_manifest(manifest), reftype)
        columns = {"native": native} if reftype == "telluric" else {}
        cube = step(cube, found.get(reftype), wanted=parameters[reftype], reason=reason, **columns)
    how = {"adc": parameters["adc"], "order": parameters["adc_order"]}
    return state_drift(cube, found.get("fibre"), **how, reason=explain_absence(read_manifest(manifest), "fibre")), paths


def read_sky(path):
    """Return the cube of the sky (Product) of a path, None of none."""
    return product.read(path, models="IFUCubeModel", unit="electron/s") if path else None


def cancels_dark(exposure, sky):
    """Say whether the error of a dark cancels: of a sky, and of what is less one of the same dark.

    Both have it alike, so that it does not count in their difference, nor twice.
    """
    is_sky = exposure.keywords.get("IMTYPE") in SKIES
    return is_sky or (sky is not None and sky.keywords.get("R_DARK") == exposure.keywords.get("R_DARK"))


def list_inputs(rate, references, sky_file):
    """Return what a cube was made of, as its PROVENANCE names it."""
    return {"rate": rate, "reference": references} | ({"sky": sky_file} if sky_file else {})
