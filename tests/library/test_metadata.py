import base64
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drs.errors import ReductionError
from drs.metadata import read_metadata

FACTS = {"size": 3, "sha1sum": "a" * 40}


def test_metadata_are_read_plain_and_packed():
    stated = {"a.fits": {"size": "3", "sha1sum": "a" * 40, "state": "x"}, "b": "NOT FOUND", "../c": FACTS, "d": {}}
    packed = base64.b64encode(gzip.compress(json.dumps(stated).encode())).decode()
    assert read_metadata(stated) == {"a.fits": FACTS}
    assert read_metadata({"crds_encoded": "1.0", "crds_payload": packed}) == {"a.fits": FACTS}
    assert read_metadata(None) == {}
    for wrong in ("x", "", None, base64.b64encode(gzip.compress(b"{")).decode()):
        with pytest.raises(ReductionError, match="cannot be unpacked"):
            read_metadata({"crds_payload": wrong})


JSON = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(JSON | st.dictionaries(st.text(), st.fixed_dictionaries({"size": JSON, "sha1sum": JSON})))
def test_any_metadata_are_usable_or_left_out(stated):
    for facts in read_metadata(stated).values():
        assert facts["size"] >= 0
        assert len(facts["sha1sum"]) == 40
