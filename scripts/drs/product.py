"""FITS products: read, check against config/products, write atomically. The border between FITS and arrays.

A product holds a PRIMARY header with all keywords, image extensions with BUNIT and WCS, and the tables
`DQ_DEF` (meaning of the flag bits), `PARAMETERS` (step, name, value) and `PROVENANCE` (role, file, sha256).
It holds no time of writing and no path of a machine: the same input gives the same bytes.
"""

import hashlib
import json
import logging
import os
import re
import textwrap
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
from astropy.io import fits

from drs import dq
from drs.errors import ReductionError, is_of_machine
from drs.files import write_atomically
from drs.headers import scan_headers
from drs.image import Image, make_nothing
from drs.planes import deinterleave
from drs.schema import PRODUCTS, find_problems, keyword_descriptions, product_models
from drs.serial import make_image, make_table, open_images, read_image, write_hdu

VERSION = "0.1.0"
IMAGE_ARRAYS = ("SCI", "ERR", "DQ", "VAR_POISSON", "VAR_RNOISE", "VAR_DARK")
OWN_AXES = {"EDGES", "ENCIRCLED", "PROFILE", "RADIUS"}  # not of the pixels
REFUSED = "REFUSED: "
CARD_LENGTH, VALUE_END, HISTORY_LENGTH = 80, 30, 72
INDENT = "  "
STEP_KEYWORDS = {
    "dq_init": "S_DQINIT",
    "saturation": "S_SATCHK",
    "bias": "S_BIAS",
    "refpix": "S_REFPIX",
    "nonlin": "S_NLCORR",
    "jump": "S_JUMPD",
    "fit_ramp": "S_RAMPFI",
    "gain": "S_GANSCL",
    "dark": "S_DARK",
    "flat": "S_FLAT",
    "sky": "S_SKYSUB",
    "cosmic": "S_COSMIC",
    "wcs": "S_WCS",
    "refraction": "S_REFRAC",
    "distortion": "S_DISTOR",
    "astrometry": "S_ASTROM",
    "flux": "S_FLUXCL",
    "extract": "S_EXTRAC",
    "wavecal": "S_WAVCAL",
    "resample": "S_RESAMP",
    "combine": "S_COMBIN",
    "telluric": "S_TELLUR",
    "adc": "S_ADC",
    "normalize": "S_NORMAL",
}


@dataclass(frozen=True)
class Product:
    """One product in memory; arrays are plain numpy in native byte order.

    Attributes
    ----------
    keywords : dict
        PRIMARY keywords without structure; DATAMODL names the model and so the schema.
    arrays : dict of ndarray or Plane
        EXTNAME -> array; images (ny, nx). A Plane is an array in a file (drs.planes).
    units : dict of str
        EXTNAME -> BUNIT; '' is dimensionless, a flag array has no entry.
    wcs : dict
        WCS keywords, written into every image extension.
    parameters : tuple of (step, name, value)
        Every parameter of every step so far, values as JSON text.
    history : tuple of str
        HISTORY lines: corrections of the header, skipped inputs, each with its reason.
    """

    keywords: dict
    arrays: dict
    units: dict = field(default_factory=dict)
    wcs: dict = field(default_factory=dict)
    parameters: tuple = ()
    history: tuple = ()

    @property
    def model(self):
        """Name of the product's data model."""
        return self.keywords.get("DATAMODL", "")

    @property
    def refusal(self):
        """Why this product was refused (see `mark_refusal`); None for a good one."""
        reasons = [line.removeprefix(REFUSED) for line in self.history if line.startswith(REFUSED)]
        return reasons[-1] if self.keywords.get("DATAQUAL") == "BAD" and reasons else None

    @property
    def image(self):
        """The rate image of this product, for the steps of the library."""
        return Image(*(self.arrays.get(name) for name in IMAGE_ARRAYS))

    def with_image(self, image):
        """Return a copy with the arrays of `image`."""
        arrays = {name: array for name, array in zip(IMAGE_ARRAYS, image, strict=True) if array is not None}
        if self.model != "SkyModel":
            arrays.pop("VAR_DARK", None)
        return replace(self, arrays=arrays, units={name: self.units[name] for name in arrays if name in self.units})

    def with_step(self, step, *, skipped=None, **parameters):
        """Return a copy that says `step` was done with `parameters`, or skipped and why."""
        status = f"SKIPPED: {skipped}" if skipped else "COMPLETE"
        keywords = {**self.keywords, STEP_KEYWORDS[step]: status}
        return replace(self, keywords=keywords).with_parameters(step, **parameters)

    def with_parameters(self, step, **parameters):
        """Return a copy with more parameters of a step."""
        rows = tuple((step, name, json.dumps(value)) for name, value in sorted(parameters.items()))
        return replace(self, parameters=self.parameters + rows)


def read(path, *, models=None, unit=None, verify=True):
    """Return the product in the FITS file `path`, checked against its schema.

    Parameters
    ----------
    path : path-like
    models : str or tuple of str, optional
        Models that the caller can use.
    unit : str, optional
        BUNIT that SCI must have, for example 'electron/s'.
    verify : bool, optional
        Compare the data with their DATASUM; False for references, whose sha1 was compared.

    Raises
    ------
    ReductionError
        The file cannot be read, is another model, disagrees with its schema, or has another unit.
    """
    with _readable(path), fits.open(path, memmap=False) as hdus:
        product = _load(hdus, read_image, verify=verify)
    if axes := _find_axes(product.arrays, name=path):
        product.arrays["COEFFS"] = np.ascontiguousarray(np.transpose(product.arrays["COEFFS"], axes))
    _check_read(product, models, path)
    if unit is not None and product.units.get("SCI") != unit:
        found = f"BUNIT of SCI is '{product.units['SCI']}'" if "SCI" in product.units else "SCI has no BUNIT"
        raise ReductionError(f"{path}: {found}, expected '{unit}'; convert it, or correct BUNIT if the values are so")
    return product


@contextmanager
def open_product(path, *, models=None):
    """Open a product whose arrays stay in its file: Planes, to be read by rows while the context is open.

    The data are not compared with their DATASUM. Arguments and errors are those of `read`; damaged data of a
    compressed file show here too.
    """
    with ExitStack() as stack:
        with _readable(path):
            hdus, load = stack.enter_context(open_images(path))
            product = _load(hdus, load, verify=False)
        if _find_axes(product.arrays, name=path):
            product.arrays["COEFFS"] = stack.enter_context(deinterleave(product.arrays["COEFFS"]))
        _check_read(product, models, path)
        yield product


@contextmanager
def _readable(path):
    """Refuse a file that is not whole, or whose reading fails within the context."""
    text = f"{path} cannot be read as a product ({{}}); delete it and run again"
    try:
        scan_headers(path)
    except ReductionError as error:
        raise ReductionError(text.format(error)) from error
    try:
        yield
    except ReductionError:
        raise
    except Exception as error:  # astropy promises no closed set of exceptions for a damaged structure
        if is_of_machine(error):
            raise
        raise ReductionError(text.format(error)) from error


def _check_read(product, models, path):
    """Refuse a product of another model, or that disagrees with its schema."""
    allowed = (models,) if isinstance(models, str) else models
    if allowed and product.model not in allowed:
        raise ReductionError(f"{path} is a {product.model or 'file without DATAMODL'}, not {' or '.join(allowed)}")
    check(product, name=path)


def _find_axes(arrays, *, name):
    """Return the order of axes that turns COEFFS into (n_coeff, ny, nx); None where it is so already.

    The instrument team's documents have (ny, nx, n_coeff). The shape of DQ tells which one a file has.
    """
    if "COEFFS" not in arrays or "DQ" not in arrays or arrays["COEFFS"].ndim != 3:
        return None
    shape, image = arrays["COEFFS"].shape, arrays["DQ"].shape
    first, last = shape[1:] == image, shape[:2] == image
    if first == last:
        raise ReductionError(
            f"{name}: COEFFS has shape {shape}, which {'may be both' if first else 'is neither'} (n_coeff, ny, nx) "
            f"{'and' if first else 'nor'} (ny, nx, n_coeff) with (ny, nx) = {image} of DQ; store it as (n_coeff, ny, "
            f"nx){', with another number of coefficients' if first else ' with a DQ of the same pixels'}"
        )
    return (2, 0, 1) if last else None


def _load(hdus, load, *, verify):
    """Return the product of an open file, its arrays made by `load(hdu)`, not checked against its schema."""
    arrays, units, wcs, parameters = {}, {}, {}, ()
    header = hdus[0].header
    for hdu in hdus[1:]:
        if verify and hdu.verify_datasum() == 0:
            raise ValueError(f"the data of {hdu.name} do not agree with their DATASUM")
        if hdu.name == "PARAMETERS":
            parameters = tuple((row["STEP"], row["NAME"], row["VALUE"]) for row in hdu.data)
        elif hdu.is_image and hdu.shape:
            name = "SCI" if hdu.name == "DATA" else hdu.name
            arrays[name] = load(hdu)
            if "BUNIT" in hdu.header:
                units[name] = hdu.header["BUNIT"].strip()
            wcs = wcs or _wcs_keywords(hdu.header)
    history = _unfold(header.get("HISTORY", ()))
    structure = ("SIMPLE", "BITPIX", "NAXIS", "EXTEND", "CHECKSUM", "DATASUM", "HISTORY", "COMMENT", "")
    keywords = {card.keyword: card.value for card in header.cards if card.keyword not in structure}
    return Product(keywords, arrays, units, wcs, parameters, history)


def _unfold(cards):
    """Return HISTORY lines whole: an indented card goes on with the line before."""
    lines = []
    for card in map(str, cards):
        if lines and card.startswith(INDENT):
            lines[-1] += f" {card.strip()}"
        else:
            lines.append(card)
    return tuple(lines)


def _wcs_keywords(header):
    """Return the WCS keywords of an image header."""
    prefixes = ("CTYPE", "CUNIT", "CRVAL", "CRPIX", "CDELT", "PC", "CD", "A_", "B_", "AP_", "BP_")
    names = {"A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER", "WCSAXES", "RADESYS"}
    names |= {"EQUINOX", "LONPOLE", "LATPOLE", "SPECSYS"}
    return {k: header[k] for k in header if k in names or (k.startswith(prefixes) and k[-1:].isdigit())}


def with_history(product, lines):
    """Return a copy of the product with more HISTORY lines."""
    return replace(product, history=(*product.history, *lines))


@contextmanager
def mark_refusal(path, template, *, mark):
    """Write a product marked BAD in place of raising, so that one bad exposure does not stop a night.

    The product holds one NaN pixel, DATAQUAL = 'BAD' and the reason; later steps leave it out or hand the mark
    on, and `check_night` fails at the end with the reason.

    Parameters
    ----------
    path : path-like
        Where the product would have been written.
    template : Product
        Keywords, parameters and history for the header.
    mark : bool
        False lets the ReductionError through.
    """
    try:
        yield
    except ReductionError as error:
        if not mark:
            raise
        logging.getLogger(__name__).error("%s", error)
        reason = " ".join(str(error).split()).encode("ascii", "replace").decode()
        arrays, units = make_nothing(template.model)
        keywords = {**template.keywords, "DATAQUAL": "BAD"}
        history = (*(line for line in template.history if not line.startswith(REFUSED)), f"{REFUSED}{reason}")
        write(path, replace(template, keywords=keywords, arrays=arrays, units=units, wcs={}, history=history))


def describe(product):
    """Return the product as the plain document that its schema speaks of."""
    extensions = {}
    for name, array in product.arrays.items():
        extensions[name] = {"dtype": str(array.dtype), "ndim": array.ndim}
        if name in product.units:
            extensions[name]["unit"] = product.units[name]
    return {"keywords": product.keywords, "extensions": extensions}


def check(product, *, name):
    """Refuse a product that disagrees with its schema, or whose images differ in shape."""
    if product.model not in product_models():
        raise ReductionError(f"{name}: DATAMODL '{product.model}' is none of {', '.join(product_models())}")
    problems = find_problems(PRODUCTS / f"{product.model}.yaml", describe(product))
    images = product.arrays.keys() - OWN_AXES
    shapes = {extension: product.arrays[extension].shape[-2:] for extension in product.arrays if extension in images}
    if len(set(shapes.values())) > 1:
        problems.append(f"images of different shapes (ny, nx): {shapes}")
    if problems:
        raise ReductionError(f"{name} is not a valid {product.model}:\n  " + "\n  ".join(problems))


def write(path, product, *, inputs=None):
    """Write a product: checked first, under a temporary name, synced, renamed.

    Parameters
    ----------
    path : path-like
        Name of the FITS file; a file of that name is replaced as a whole or not at all.
    product : Product
    inputs : dict, optional
        role -> path or list of paths, listed with their sha256 in PROVENANCE.
    """
    path = Path(path)
    product = replace(product, keywords={**product.keywords, "DRSVER": VERSION})
    check(product, name=path)
    tables = [make_table(dq.definition_table(), "DQ_DEF")] if "DQ" in product.arrays else []
    tables.append(_table("PARAMETERS", ("STEP", "NAME", "VALUE"), product.parameters))
    tables.append(_table("PROVENANCE", ("ROLE", "FILE", "SHA256"), _provenance(inputs or {})))

    def write_to(stream):
        write_hdu(stream, make_primary(product))
        for name, array in product.arrays.items():
            write_hdu(stream, make_image(array, _image_header(product, name), name), array)
        for table in tables:
            write_hdu(stream, table)

    write_atomically(path, write_to)


def make_primary(product):
    """Return the PRIMARY HDU: every keyword with its meaning, sorted as given, then HISTORY."""
    header, comments = fits.Header(), _comments()
    for keyword, value in product.keywords.items():
        room = CARD_LENGTH - max(len(str(fits.Card(keyword, value)).rstrip()), VALUE_END) - len(" / ")
        header[keyword] = (value, comments.get(keyword, "")[: max(room, 0)])
    for line in product.history:
        printed = re.sub("[^ -~]", "?", " ".join(line.split()))  # what a card can hold
        for card in textwrap.wrap(printed, HISTORY_LENGTH, subsequent_indent=INDENT):
            header.add_history(card)
    return fits.PrimaryHDU(header=header)


@cache
def _comments():
    """Return keyword -> comment, steps and references included."""
    steps = {keyword: f"status of step {step}" for step, keyword in STEP_KEYWORDS.items()}
    return {**keyword_descriptions(), **steps}


def _image_header(product, name):
    """Return what an image's header says besides its structure: BUNIT and the WCS."""
    header = fits.Header()
    if name in product.units:
        header["BUNIT"] = (product.units[name], "unit of the values")
    header.update(product.wcs)
    return header


def _table(name, columns, rows):
    """Return a table extension of text columns, as wide as their longest value."""
    width = [max([1, *(len(str(row[k])) for row in rows)]) for k in range(len(columns))]
    dtype = [(column, f"U{width[k]}") for k, column in enumerate(columns)]
    return make_table(np.array([tuple(map(str, row)) for row in rows], dtype=dtype), name)


def _provenance(inputs):
    """Return (role, file name, sha256) of every input, roles in the order given."""
    rows = []
    for role, paths in inputs.items():
        paths = [paths] if isinstance(paths, (str, os.PathLike)) else paths
        rows += [(role, Path(path).name, sha256(path)) for path in paths]
    return rows


def sha256(path):
    """Return the sha256 of a file as hexadecimal text."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
