"""Cosmic rays in one image, by the sharpness of their edges."""

import numpy as np

from drs.dq import Flag

HIT = np.uint32(Flag.JUMP_DET | Flag.DO_NOT_USE)
N_PASS = 4


def flag_hits(image, *, sigma, neighbour_fraction, contrast):
    """Return an image whose cosmic rays are flagged JUMP_DET and DO_NOT_USE, and their number of pixels.

    L.A.Cosmic (van Dokkum 2001, PASP 113, 1420) of astroscrappy: the Laplacian of the image, sampled twice as finely,
    over its noise; sources are told from hits by the fine structure, the 3 x 3 median less its 7 x 7 median. The noise
    is the image's own error, smoothed by a median so that hits do not raise it. Values stay.

    Parameters
    ----------
    image : drs.image.Image
        Less its sky, e-/s, (ny, nx).
    sigma : float
        Least Laplacian of a hit over the noise.
    neighbour_fraction : float
        Part of that, for neighbours of hits.
    contrast : float
        Least Laplacian of a hit over the fine structure; the higher, the safer are cores of stars.
    """
    import astroscrappy  # only where it is asked for

    unusable = image.unusable
    rate, variance = (np.where(unusable, 0.0, plane).astype(np.float32) for plane in (image.rate, image.error**2))
    is_hit, _ = astroscrappy.detect_cosmics(
        rate,
        inmask=unusable,
        invar=np.where(unusable, np.median(variance[~unusable]), variance) if not unusable.all() else variance,
        sigclip=sigma,
        sigfrac=neighbour_fraction,
        objlim=contrast,
        gain=1.0,
        readnoise=0.0,
        satlevel=np.inf,
        niter=N_PASS,
        sepmed=False,
    )
    is_hit &= ~unusable
    return image._replace(dq=image.dq | np.where(is_hit, HIT, np.uint32(0))), int(is_hit.sum())
