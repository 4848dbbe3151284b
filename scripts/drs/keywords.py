"""Keywords that identify an exposure, and the headers of products that are made from several exposures."""

from drs.errors import ReductionError

CONFIGURATION = ("INSTRUME", "DETECTOR", "INSTERA", "READMODE", "SUBARRAY", "SUBARRID", "FILTER", "PUPIL")
IDENTITY = ("SEMID", "PROGNUM", "OBSNUM", "EXPNUM")
OF_ONE_EXPOSURE = ("RA", "DEC", "DITHNO", "AIRMASS", "EXPNUM", "FILENAME")


def combine_keywords(headers):
    """Return the keywords of a combination: those that all agree in, times from first to last, total exposure.

    Parameters
    ----------
    headers : list of dict
        Keywords of the members, in order of their start.
    """
    first = headers[0]
    same = {key: first[key] for key in first if all(header.get(key) == first[key] for header in headers)}
    dropped = (*OF_ONE_EXPOSURE, "EXPMJDST", "EXPMJDMD", "EXPMJDEN", "EXPDTMID") if len(headers) > 1 else ()
    combined = {key: value for key, value in same.items() if key not in dropped}
    combined["EXPDTST"] = min(header["EXPDTST"] for header in headers)
    ends = [header["EXPDTEND"] for header in headers if "EXPDTEND" in header]
    if ends:
        combined["EXPDTEND"] = max(ends)
    combined["EXPTIME"] = max(header["EXPTIME"] for header in headers)
    combined["TOTTIME"] = sum(header.get("TOTTIME", header["EXPTIME"]) for header in headers)
    combined["NCOMBINE"] = sum(header.get("NCOMBINE", 1) for header in headers)
    combined["DATAQUAL"] = "GOOD"
    return combined


def reference_keywords(combined, reftype, useafter, description):
    """Return the keywords that CRDS asks of a calibration made from a night's exposures.

    Parameters
    ----------
    combined : dict
        Result of `combine_keywords`.
    reftype : str
        CRDS file kind, for example 'DARK'.
    useafter : str
        Time from which, or near which, the reference holds, ISO.
    description : str
    """
    missing = [key for key in ("INSTRUME", "DETECTOR", "READMODE", "SUBARRAY") if key not in combined]
    if missing:
        raise ReductionError(f"the members of a {reftype} differ in {', '.join(missing)}: they cannot be combined")
    return combined | {
        "REFTYPE": reftype,
        "REFVER": "0.0.1",
        "USEAFTER": useafter,
        "PEDIGREE": f"INFLIGHT {combined['EXPDTST'][:10]} {combined.get('EXPDTEND', combined['EXPDTST'])[:10]}",
        "AUTHOR": "Liger/IRIS data reduction",
        "DESCRIP": description,
    }
