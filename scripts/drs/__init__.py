"""The data-reduction library of Liger and IRIS: arrays in, new arrays out.

FITS is read and written in `raw` (Level 0) and `product` (everything else) only; units are stripped there,
and arrays keep one axis order: ramps (n_group, n_read, ny, nx), images (ny, nx), cubes (n_wave, ny, nx).
"""
