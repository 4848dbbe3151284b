"""The add-on's own description of the reference types, made from config/references.yaml: never edited by hand.

crds wants three things of an observatory: a table of its types (specs/combined_specs.json), for each the checks of
`certify` (tpns/*.tpn) and an empty rule file to begin with (specs/<instrument>_<type>.rmap).
"""

import json
from pathlib import Path

from crds_ligeriri import session
from drs.files import write_text
from drs.schema import PRODUCTS, load_yaml

HEAD = """\
# Made by scripts/write_specs.py. Columns: name, keytype (H header, A array, X expression),
# datatype (C character, X expression), presence (R required), allowed values or expression.
"""
OF_EVERY_REFERENCE = """\
TELESCOP  H  C  R  TMT,KECK,"KECK I","KECK II"
REFTYPE   H  C  R
USEAFTER  H  C  R  &JWSTDATE
PEDIGREE  H  C  R  &JWSTPEDIGREE
AUTHOR    H  C  R
DESCRIP   H  C  R
META.INSTRUMENT.ERA  H  C  R
"""
KINDS_OF_DTYPE = {"float32": "FLOAT", "float64": "FLOAT", "uint32": "INT", "int32": "INT"}


def write_specs(types, instruments, folder):
    """Write the description of all types into the add-on's folder, and drop what is no longer of any type.

    Parameters
    ----------
    types : dict
        Of `drs.references.load_types`.
    instruments : list of dict
        Contents of config/instruments/*.yaml.
    folder : path-like
        The package `ligeriri` of the add-on.
    """
    folder = Path(folder)
    with session(folder) as crds:
        from crds.ligeriri.locate import PARKEYS

        texts = {folder / "specs" / "combined_specs.json": format_table(types, instruments)}
        texts |= {folder / "tpns" / name: text for name, text in format_checks(types, instruments, PARKEYS).items()}
        rules = {
            folder / "specs" / f"{instrument['name'].lower()}_{facts['filekind'].lower()}.rmap": (instrument, kind)
            for instrument in instruments
            for kind, facts in types.items()
        }
        for path, text in texts.items():
            write_text(path, text)
        for path, (instrument, kind) in rules.items():
            header = make_header(instrument["name"], kind, types[kind], PARKEYS)
            text = f"header = {header!r}\n\nselector = Match({{\n}})\n"
            crds.core.rmap.ReferenceMapping.from_string(text, str(path), ignore_checksum=True).write(str(path))
    for path in [*(folder / "specs").iterdir(), *(folder / "tpns").iterdir()]:
        if path not in texts and path not in rules:
            path.unlink()


def format_table(types, instruments):
    """Return combined_specs.json: instrument -> filekind -> facts, `all` included."""
    names = ["all", *(instrument["name"].lower() for instrument in instruments)]
    table = {}
    for name in names:
        table[name] = {"all": _spec(name, "all", {"filekind": "all", "title": "Every type"})}
        table[name] |= {facts["filekind"].lower(): _spec(name, kind, facts) for kind, facts in types.items()}
    return json.dumps(table, indent=1, sort_keys=True) + "\n"


def _spec(instrument, kind, facts):
    """Return what crds keeps of one type; `keyword` and `model` are for our own use."""
    filekind = facts["filekind"].lower()
    own = {key: facts[key] for key in ("keyword", "model") if key in facts}
    return {
        "file_ext": ".fits",
        "filekind": facts["filekind"],
        "filetype": filekind,
        "instrument": instrument,
        "ld_tpn": f"{instrument}_{filekind}.tpn",
        "suffix": kind,
        "text_descr": facts["title"],
        "tpn": f"{instrument}_{filekind}.tpn",
        "unique_rowkeys": None,
        **own,
    }


def format_checks(types, instruments, parkeys):
    """Return name -> text of the .tpn files: of every reference, of an instrument, of a type."""
    texts = {"all_all.tpn": HEAD + OF_EVERY_REFERENCE}
    for instrument in instruments:
        detectors = [
            name
            for detector, facts in instrument["detectors"].items()
            for name in (detector, *facts.get("aliases", ()))
        ]
        lines = [_require("INSTRUME", parkeys, [instrument["name"].upper()]), _require("DETECTOR", parkeys, detectors)]
        texts[f"{instrument['name'].lower()}_all.tpn"] = HEAD + "".join(lines)
    for facts in types.values():
        lines = [f"REFTYPE  H  C  R  {facts['filekind']}\n"]
        for keyword in facts["match"]:
            if keyword not in ("INSTERA", "DETECTOR"):  # of every reference, of the instrument
                lines += _check_keyword(keyword, parkeys, facts.get("values", {}).get(keyword))
        texts[f"all_{facts['filekind'].lower()}.tpn"] = HEAD + "".join(lines) + _check_arrays(facts["model"])
    return texts


def _require(keyword, parkeys, values=()):
    """Return the line that requires a keyword, with its allowed values."""
    return f"{parkeys[keyword]}  H  C  R  {','.join(values)}".rstrip() + "\n"


def _check_keyword(keyword, parkeys, values):
    """Return the lines for a keyword that rules match: its values, or that it does not stand for all of them."""
    if values:
        return [_require(keyword, parkeys, values)]
    path = parkeys[keyword]
    return [_require(keyword, parkeys), f"{path}  X  X  R  ({path.replace('.', '_')}!='ANY')\n"]


def _check_arrays(model):
    """Return the lines for the arrays that the schema of a model requires."""
    extensions = load_yaml(PRODUCTS / f"{model}.yaml")["properties"]["extensions"]
    shared = load_yaml(PRODUCTS / "common.yaml")["$defs"]
    lines = []
    for name in extensions.get("required", ()):
        array = extensions["properties"][name]
        facts = shared[array["$ref"].rpartition("/")[2]] if "$ref" in array else array
        ndim, dtype = (facts["properties"][item].get("const") for item in ("ndim", "dtype"))
        lines += [f"{name}  A  X  R  (ndim({name}_ARRAY,{ndim}))\n"] if ndim else []
        lines += [f"{name}  A  X  R  (has_type({name}_ARRAY,'{KINDS_OF_DTYPE[dtype]}'))\n"]
    return "".join(lines)


def make_header(instrument, kind, facts, parkeys):
    """Return the header of the empty rule file of a type."""
    filekind = facts["filekind"].lower()
    header = _spec(instrument.lower(), kind, facts)
    del header["keyword"], header["model"]
    header |= {
        "classes": ("Match", facts["selector"]),
        "derived_from": "NONE",
        "instrument": instrument,
        "mapping": "REFERENCE",
        "name": f"{instrument.lower()}_{filekind}.rmap",
        "observatory": "LIGERIRI",
        "parkey": (tuple(parkeys[keyword] for keyword in facts["match"]), ("META.DATE",)),
    }
    generic = {
        parkeys[key]: {"GENERIC": "N/A"} for key, values in facts.get("values", {}).items() if "GENERIC" in values
    }
    return header | ({"substitutions": generic} if generic else {})
