"""What a CRDS server or cache states of its files, plain or packed: stock crds keeps it as the server packed it."""

import base64
import binascii
import json
import re
import zlib

from drs.errors import ReductionError
from drs.mapping import NAME

SHA1 = re.compile(r"[0-9a-f]{40}")
MAX_METADATA_BYTES = 1 << 28


def read_metadata(stated):
    """Return name -> {"size": int, "sha1sum": str} of what a server or cache states; what is not usable is left out.

    Parameters
    ----------
    stated : dict or None
        name -> {"size", "sha1sum", ...}, plain or in the packed form of crds (`crds_payload`).
    """
    if isinstance(stated, dict) and "crds_payload" in stated:
        stated = _unpack(stated["crds_payload"])
    usable = {}
    for name, facts in (stated if isinstance(stated, dict) else {}).items():
        size, digest = (str(facts.get(key, "")) for key in ("size", "sha1sum")) if isinstance(facts, dict) else ("", "")
        if NAME.fullmatch(str(name)) and re.fullmatch("[0-9]{1,15}", size) and SHA1.fullmatch(digest):
            usable[name] = {"size": int(size), "sha1sum": digest}
    return usable


def _unpack(payload):
    """Return the JSON document that crds packs as base64 of gzip."""
    try:
        text = zlib.decompressobj(wbits=31).decompress(base64.b64decode(payload), MAX_METADATA_BYTES)
        return json.loads(text)
    except (TypeError, ValueError, binascii.Error, zlib.error) as error:
        raise ReductionError(f"download_metadata cannot be unpacked ({error}); ask the keeper of the source") from error
