"""Measure the quality of a product: background, whether its errors hold, flags, sources, and how it was made.

Everything lands in one JSON file that the night report reads. A refused product (DATAQUAL = BAD) gives its reason
and no numbers. Sources are sought in Level 2 and 3 images only.
"""

from pathlib import Path

import click

from drs import cli, product
from drs.errors import ReductionError
from drs.files import write_json
from drs.image import find_plane
from drs.quality import measure_quality, pixel_scale_arcsec
from drs.whitelight import measure_noise, show_as_image

OF_SPECTRA = (
    "RMCHISQ",
    "RMREJECT",
    "RMNDARK",
    "RMSCATT",
    "FRMSHIFT",
    "FRMSHERR",
    "WAVSHIFT",
    "WAVSHERR",
    "WAVNLINE",
    "SKYFROM",
    "ADCFROM",
    "ADCSIZE",
    "ADCERR",
    "NOISCORR",
    "NOISSPAT",
    "TELFROM",
    "TELRV",
    "TELNLIN",
    "TELERR",
    "PHOTFLAM",
    "PHOTFLME",
    "BARYCORR",
)


@cli.command()
@click.option("--product", "path", type=cli.existing_file, required=True, help="Product with SCI, ERR and DQ.")
@click.option(
    "--source-threshold-sigma",
    type=click.FloatRange(0, min_open=True),
    required=True,
    help="Sources are found above this.",
)
@cli.output_option
def main(path, source_threshold_sigma, output):
    """Measure the quality of a product."""
    measured = product.read(path)
    numbers = {} if measured.refusal else measure(path, measured, source_threshold_sigma)
    write_json(output, {**describe(path, measured), **numbers})


def measure(path, measured, source_threshold_sigma):
    """Return the quality numbers of a product that was not refused; of a cube, of its white light."""
    own = {key: measured.keywords[key] for key in OF_SPECTRA if key in measured.keywords}
    stored = next(
        (list(measured.arrays[name].shape) for name in ("SCI", "RECTMAT", "WAVESOL") if name in measured.arrays), None
    )
    cube, measured = measured, show_as_image(measured)
    if (plane := find_plane(measured.arrays)) is None:
        raise ReductionError(f"{path} has no SCI, COEFFS or DQ: only images and their flags have quality")
    level = measured.keywords.get("DATALVL")
    has_sources = level in (2, 3) and measured.model != "SkyModel"
    numbers = measure_quality(
        *plane,
        source_threshold_sigma=source_threshold_sigma if has_sources else None,
    )
    on_sky = measured.model != "IFUImageModel"  # whose SCALE is that of the spatial elements, not of pixels
    scale_arcsec = pixel_scale_arcsec(measured.wcs) or (measured.keywords.get("SCALE") if on_sky else None)
    fwhm_arcsec = None
    if numbers["fwhm_pix"] is not None and scale_arcsec:
        fwhm_arcsec = float(f"{numbers['fwhm_pix'] * scale_arcsec:.6g}")
    if cube.model == "IFUCubeModel":  # the scatter of its white light is that of the sources
        numbers["noise_over_error"] = find_noise(cube)
    numbers |= {"scale_arcsec": scale_arcsec, "fwhm_arcsec": fwhm_arcsec} | ({"spectra": own} if own else {})
    return {"measured": numbers, "shape": stored or list(plane[0].shape)}


def find_noise(cube):
    """Return the noise of a cube over its errors; None where sky lines are left in it."""
    if not cube.keywords.get("S_SKYSUB", "COMPLETE").startswith("COMPLETE"):
        return None
    ratio = measure_noise(*(cube.arrays[name] for name in ("SCI", "ERR", "DQ")))
    return float(f"{ratio:.6g}") if ratio == ratio else None


def describe(path, measured):
    """Return what the header of a product says about its making."""
    keywords = measured.keywords
    return {
        "product": Path(path).name,
        "model": measured.model,
        "level": keywords.get("DATALVL"),
        "data_quality": keywords.get("DATAQUAL"),
        "refused": measured.refusal,
        "unit": measured.units.get("SCI"),
        "numbers": {key: value for key, value in keywords.items() if key.startswith("Q_")},
        "measured": None,
        "shape": None,
        "steps": {key: value for key, value in keywords.items() if key.startswith("S_")},
        "references": {key: value for key, value in keywords.items() if key.startswith("R_")},
        "context": keywords.get("CRDS_CTX"),
        "n_combined": keywords.get("NCOMBINE"),
        "exposure_s": keywords.get("TOTTIME", keywords.get("EXPTIME")),
        "history": list(measured.history),
    }


if __name__ == "__main__":
    main()
