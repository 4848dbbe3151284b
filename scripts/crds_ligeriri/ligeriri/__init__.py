"""What crds asks of an observatory: its instruments and types of references, from specs/combined_specs.json."""

from pathlib import Path

from crds.core import reftypes

HERE = str(Path(__file__).resolve().parent)  # also where crds looks for substitutions.dat

TYPES = reftypes.from_package_file("ligeriri", __file__)

OBSERVATORY = TYPES.observatory
INSTRUMENTS = [name for name in TYPES.instruments if name != "all"]
EXTENSIONS = TYPES.extensions
TEXT_DESCR = TYPES.text_descr
FILEKINDS = [kind for kind in TYPES.filekinds if kind != "all"]

INSTRUMENT_FIXERS = {}
TYPE_FIXERS = {}

PROVENANCE_KEYWORDS = ("DESCRIP", "PEDIGREE", "USEAFTER", "AUTHOR")
USEAFTER_KEYWORDS = ("META.DATE",)
DEFAULT_SELECTORS = ("Match", "UseAfter")
