"""Coordinates of a cube as a product: sky and wavelengths, and its barycentric correction."""

from dataclasses import replace

from drs.barycentre import find_barycentric_correction
from drs.wcs import build_cube_wcs, find_pointing


def assign_wcs(cube, instrument, field, grid_um):
    """Return the cube with the coordinates that its pointing and its field give, and its barycentric correction.

    Parameters
    ----------
    cube : Product
        IFUCubeModel.
    instrument : dict
        Content of config/instruments/*.yaml.
    field : dict
        From `drs.spectralrefs.find_field`.
    grid_um : ndarray, (bin)
        Middles of the bins.
    """
    keywords = cube.keywords
    pointing = find_pointing(keywords)
    place = instrument["latitude_deg"], instrument["longitude_deg"]
    moment = keywords.get("EXPDTMID", keywords["EXPDTST"])
    velocity = find_barycentric_correction(pointing["ra_deg"], pointing["dec_deg"], moment, *place)
    cube = replace(cube, keywords=keywords | {"BARYCORR": round(velocity, 4)})
    wcs = build_cube_wcs(pointing, field, cube.arrays["SCI"].shape[1:], grid_um)
    return replace(cube.with_step("wcs", **pointing, **field), wcs=wcs)
