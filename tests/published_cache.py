"""A published CRDS cache in miniature, with the defects that such caches have been found to have."""

from hashlib import sha256

from reference_cache import write_reference

DARK = "IRIS_IMG1_DARK_20240924T000000_0.0.1.fits"
FLAT = "iris_img1_flat_20240924t000000_0.0.1.fits"
PMAP = """header = {{
    'derived_from' : '', 'ignore_checksum' : True, 'mapping' : 'PIPELINE', 'name' : '{obs}_0001.pmap',
    'observatory' : '{OBS}', 'parkey' : ('META.INSTRUMENT.NAME',), 'sha1sum' : '0000',
}}
selector = {{'Liger' : '{obs}_liger_0001.imap', 'IRIS' : '{obs}_iris_0001.imap'}}
"""
IMAP = """header = {{
    'derived_from' : '', 'instrument' : '{instrument}', 'mapping' : 'INSTRUMENT', 'name' : '{obs}_{lower}_0001.imap',
    'observatory' : '{OBS}', 'parkey' : ('META.EXPOSURE.IMTYPE',), 'sha1sum' : '0000',
}}
selector = {{
    'DARK' : '{obs}_{lower}_dark_0001.rmap', 'FLAT' : '{obs}_{lower}_flat_0001.rmap',
    'MASK' : '{obs}_{lower}_mask_0001.rmap',
}}
"""
RMAP = """header = {{
    'classes' : ('Match', '{method}'), 'derived_from' : 'NONE', 'filekind' : '{KIND}', 'instrument' : 'IRIS',
    'mapping' : 'REFERENCE', 'name' : '{obs}_{kind}_0001.rmap', 'observatory' : '{OBS}',
    'parkey' : ({keys}, {dates}), 'sha1sum' : '0000',
}}
selector = Match({{{cases}}})
"""
ERA_KEYS = "'META.INSTRUMENT.ERA', 'META.INSTRUMENT.DETECTOR', 'META.EXPOSURE.READMODE'"
CONFIG = {
    "bad_files_list": [],
    "connected": True,
    "crds_version": {"str": "7.3.1"},
    "edit_context": "other_0001.pmap",
    "force_remote_mode": False,
    "last_synced": "2018-12-17 17:48:16",
    "mapping_url": {"other": "https://nowhere.example"},
    "mappings": ["other_0001.pmap"],
    "observatory": "ligeriri",
    "operational_context": "other_0001.pmap",
    "reference_url": {},
}


def write_cache(root, obs="ligeriri", detector="IMG1", era="0.0.0"):
    """Write the cache of a checkout; the dark is a Git-LFS pointer, the mask's file is missing, as is all of Liger."""
    facts = {"obs": obs, "OBS": obs.upper()}
    rules = root / "mappings" / obs
    rules.mkdir(parents=True)
    (rules / f"{obs}_0001.pmap").write_text(PMAP.format(**facts))
    for instrument in ("IRIS", "Liger"):
        text = IMAP.format(instrument=instrument, lower=instrument.lower(), **facts)
        (rules / f"{obs}_{instrument.lower()}_0001.imap").write_text(text)
    dates = "('META.DATE',)" if obs == "ligeriri" else "('META.OBSERVATION.DATE', 'META.OBSERVATION.TIME')"
    case = "({key}) : {method}({{'2024-09-24 00:00:00' : '{file}'}}),"
    key = f"'{era}', '{detector}', 'DEFAULT'"
    darks = [case.format(key=f"{key}, '{name}'", method="ClosestTime", file=DARK) for name in ("FULL", "CUSTOM")]
    flats = [case.format(key=f"{key}, 'Y', 'CLEAR'", method="ClosestTime", file=FLAT.upper())]
    masks = [case.format(key=f"'{detector}', 'GENERIC'", method="UseAfter", file="IRIS_DQ.fits")]
    filter_keys = "'META.INSTRUMENT.FILTER', 'META.INSTRUMENT.PUPIL'"
    for kind, method, keys, cases in (
        ("dark", "ClosestTime", f"({ERA_KEYS}, 'META.SUBARRAY.NAME')", darks),
        ("flat", "ClosestTime", f"({ERA_KEYS}, {filter_keys})", flats),
        ("mask", "UseAfter", "('META.INSTRUMENT.DETECTOR', 'META.SUBARRAY.NAME')", masks),
    ):
        texts = {"kind": kind, "KIND": kind.upper(), "method": method, "keys": keys, "cases": " ".join(cases)}
        (rules / f"{obs}_iris_{kind}_0001.rmap").write_text(RMAP.format(dates=dates, **texts, **facts))
    (root / "config" / obs).mkdir(parents=True)
    (root / "config" / obs / "server_config").write_text(repr(CONFIG))
    (root / "config" / obs / "ref_cache_subdir_mode").write_text("instrument")
    folder = root / "references" / obs / "iris"
    write_reference(folder, "flat", INSTERA=era)
    write_pointer(folder / DARK, b"the dark itself")
    return root


def write_pointer(path, content):
    """Write the Git-LFS pointer to a file of the content given."""
    text = (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(content).hexdigest()}\nsize {len(content)}\n"
    )
    path.write_text(text)
