"""Exposures of a star field against a catalogue: the stars of each that the catalogue has."""

import numpy as np

from drs.catalogue import move_to_date
from drs.errors import ReductionError
from drs.refraction import find_stretch, stretch_wcs
from drs.starfield import list_stars, pair_stars
from drs.wcs import find_pointing, find_wcs


def pair_exposures(members, catalogue, instrument, *, air, search, minimum):
    """Return (places, wanted, numbers) of the stars of each exposure, and a line for each that does not match.

    Parameters
    ----------
    members : list of Product
        Level 1, less their dark.
    catalogue : drs.catalogue.Catalogue
    instrument : dict
        Content of config/instruments/*.yaml.
    air : drs.refraction.Air or None
        At the telescope, to take differential refraction and aberration out of the places.
    search : drs.astrometry.Search
    minimum : int
        Fewest exposures.

    Raises
    ------
    ReductionError
        Fewer exposures match the catalogue.
    """
    pairs, left_out = [], []
    for member in members:
        try:
            pairs.append(_pair_exposure(member, catalogue, instrument, air, search))
        except ReductionError as error:
            left_out.append(f"exposure {member.keywords.get('EXPNUM')}: {error}")
    if len(pairs) < minimum:
        raise ReductionError(
            f"{len(pairs)} exposures match the catalogue of stars, at least {minimum} needed ({'; '.join(left_out)}); "
            "correct RA, DEC, PA in exposures.yaml, or see make_field_distortion"
        )
    return pairs, [f"left out: {line}" for line in left_out]


def _pair_exposure(member, catalogue, instrument, air, search):
    """Return (places, wanted, numbers) of the stars of an exposure."""
    image, keywords = member.image, member.keywords
    if image.unusable.all():
        raise ReductionError("all pixels are masked")
    wcs = find_wcs(keywords, image.rate.shape, instrument)
    if air is not None:
        mjd = keywords.get("EXPMJDMD", keywords.get("EXPMJDST"))
        if mjd is None:
            raise ReductionError("no EXPMJDMD in the header")
        wcs = stretch_wcs(wcs, find_stretch(find_pointing(keywords), mjd, instrument, air))
    stars = move_to_date(catalogue, keywords["EXPDTST"])
    places = np.stack([stars.ra_deg, stars.dec_deg, stars.mag])
    noise = float(np.median(image.error[~image.unusable]))
    return pair_stars(list_stars(image), wcs, image.rate.shape, places, noise=noise, search=search)
