"""What crds asks about names, places and keywords of the observatory's files.

Rules match on the paths of the data models (META.*); FITS headers carry keywords. Both name the same value here.
The date of matching, META.DATE, is the start of the exposure, never the date of a file; for a reference it is
USEAFTER.
"""

import re
from pathlib import Path

from crds import data_file
from crds.core import config, log, timestamp, utils

from . import FILEKINDS, HERE, INSTRUMENTS, TYPES

PARKEYS = {
    "INSTRUME": "META.INSTRUMENT.NAME",
    "INSTERA": "META.INSTRUMENT.ERA",
    "DETECTOR": "META.INSTRUMENT.DETECTOR",
    "INSTMODE": "META.INSTRUMENT.MODE",
    "FILTER": "META.INSTRUMENT.FILTER",
    "PUPIL": "META.INSTRUMENT.PUPIL",
    "SCALE": "META.INSTRUMENT.SCALE",
    "GRATING": "META.INSTRUMENT.GRATING",
    "READMODE": "META.EXPOSURE.READMODE",
    "SUBARRAY": "META.SUBARRAY.NAME",
    "EXPDTST": "META.DATE",
    "REFTYPE": "META.REF_TYPE",
    "USEAFTER": "META.USEAFTER",
}
CONTEXT_KEYS = {"IRIS": "IRIS", "LIGER": "Liger"}
MAPPING_NAME = re.compile(r"ligeriri(?:_(?P<instrument>[a-z]+))?(?:_(?P<kind>[a-z][a-z0-9]*))?(?:_\d+)?\.[pir]map")
REFERENCE_NAME = re.compile(
    r"(?P<instrument>[a-z]+)_[a-z0-9]+_(?P<kind>[a-z0-9]+)(?:_[a-z0-9.+-]+)*_\d{8}t\d{6}_[0-9.]+\.fits"
)

get_all_tpninfos = TYPES.get_all_tpninfos
get_row_keys_by_instrument = TYPES.get_row_keys_by_instrument
get_item = TYPES.get_item


def get_file_properties(filename):
    """Return (instrument, filekind) of a mapping or reference, lower case; by name, else by header."""
    name = Path(filename).name.lower()
    if match := MAPPING_NAME.fullmatch(name) or REFERENCE_NAME.fullmatch(name):
        instrument, kind = match["instrument"] or "", match["kind"] or ""
        kind = TYPES.suffix_to_filekind(instrument, kind) if kind else ""
    else:
        header = data_file.get_unconditioned_header(filename, observatory="ligeriri")
        instrument, kind = header["INSTRUME"].lower(), header["REFTYPE"].lower()
    if instrument not in ["", *INSTRUMENTS] or kind not in ["", *FILEKINDS]:
        raise ValueError(f"{filename}: instrument '{instrument}' or type '{kind}' is not one of ligeriri")
    return instrument, kind


def match_context_key(key):
    """Return a key of a context as its mappings spell it."""
    return CONTEXT_KEYS.get(key.upper(), key.upper())


def header_to_reftypes(header, context):
    """Return [] = every type: the caller says what it needs."""
    return []


def fits_to_parkeys(header):
    """Return a dataset's header with every keyword under its META path as well."""
    result = {key.upper(): header[key] for key in header}
    for keyword, path in PARKEYS.items():
        if keyword in result:
            result.setdefault(path, result[keyword])
    return result


def reference_keys_to_dataset_keys(rmapping, header):
    """Return a reference's header with the keys of the exposures it serves.

    USEAFTER becomes the date of matching. A full-frame reference serves every subarray, because steps cut it:
    SUBARRAY FULL becomes the rule's own word for all of them.
    """
    result = fits_to_parkeys(header)
    if "USEAFTER" in header:
        result["META.DATE"] = timestamp.reformat_date(header["USEAFTER"])
    if result.get("META.SUBARRAY.NAME") == "FULL":
        generic = "META.SUBARRAY.NAME" in rmapping.header.get("substitutions", {})
        result["META.SUBARRAY.NAME"] = "GENERIC" if generic else "CUSTOM|FULL"
    return result


def condition_matching_header(rmapping, header):
    """Return the header's values in the form that rules hold."""
    return utils.condition_header(header)


def get_cross_strapped_pairs(header):
    """Return the pairs of keys that name one value."""
    return [(keyword, path) for keyword, path in PARKEYS.items() if keyword != "EXPDTST"]


def filekind_to_keyword(filekind):
    """Return the keyword in which a dataset records its reference."""
    return TYPES.unified_defs["all"][filekind.lower()]["keyword"]


def get_env_prefix(instrument):
    """Return the prefix of recorded reference names."""
    return "crds://"


def locate_dir(instrument, mode=None):
    """Return the folder of an instrument's references."""
    return str(Path(config.get_crds_refpath("ligeriri")) / instrument)


def locate_file(refname, mode=None, parameters=None):
    """Return the path of a reference in the cache."""
    name = Path(refname).name
    match = REFERENCE_NAME.fullmatch(name.lower())
    if match:
        instrument = match["instrument"]
    elif parameters is not None:
        instrument = utils.header_to_instrument(parameters).lower()
    else:
        instrument = get_file_properties(refname)[0]
    return str(Path(locate_dir(instrument, mode)) / name)


def tpn_path(tpn_file):
    """Return the path of a .tpn file: what certify checks."""
    return str(Path(HERE) / "tpns" / tpn_file)


def get_extra_tpninfos(refpath):
    """Return no further checks."""
    return []


def project_check(refpath, rmapping=None):
    """Refuse a reference that disagrees with the schema of its data model (config/products).

    The schemas and their reader are beside this add-on; where it is used without them, a warning says so.
    """
    try:
        from drs import product
    except ImportError as error:
        log.warning("Without the library drs", refpath, "is not compared with the schema of its model:", str(error))
    else:
        product.read(refpath, models=TYPES.unified_defs["all"][get_file_properties(refpath)[1]]["model"])
