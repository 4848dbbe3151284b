import pytest
from reference_cache import TYPES, add_context, make_cache, make_request

from drs.bestrefs import resolve
from drs.errors import ReductionError
from drs.references import find_context
from drs.selection import format_trace, trace_selection

OLD = "'2024-01-01 00:00:00' : 'iris_img1_{kind}_20240101t000000_0.0.1.fits',"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Return a cache whose second context has a later dark and bias of IMG1, and a less specific dark."""
    cache = make_cache(tmp_path_factory.mktemp("cache") / "crds")
    changes = {}
    for kind in ("dark", "bias"):
        old = OLD.format(kind=kind)
        changes[kind] = {old: f"{old}\n        '2026-01-01 00:00:00' : '{kind}_2026.fits',"}
    any_mode = (
        "    ('0.0.1', 'IMG1', 'N/A', 'CUSTOM|FULL') : ClosestTime({'2024-09-24 00:00:00' : 'any_mode.fits'}),\n})"
    )
    changes["dark"]["\n})"] = f"\n{any_mode}"
    add_context(cache, "0002", changes)
    return cache


def trace(cache, kind, context="ligeriri_0002.pmap", **keys):
    return trace_selection(make_request(**keys)["keys"], kind, find_context(cache, context, {}), TYPES, cache)


def told(traced):
    return {(entry["file"], entry["date"]): entry["reason"] for entry in traced["candidates"]}


def test_keys_that_failed_and_dates_that_lost(cache):
    traced = trace(cache, "dark", EXPDTST="2024-09-24T00:00:00")
    assert traced["chosen"] == "iris_img1_dark_20240101t000000_0.0.1.fits"
    assert traced["candidates"][0]["status"] == "chosen"
    assert [entry["status"] for entry in traced["candidates"]].count("chosen") == 1
    reasons = told(traced)
    assert reasons[traced["chosen"], "2024-01-01 00:00:00"] == "the nearest date, 267.000 d from 2024-09-24 00:00:00"
    late = "464.000 d from 2024-09-24 00:00:00, the chosen one 267.000 d"
    assert reasons["dark_2026.fits", "2026-01-01 00:00:00"] == late
    fewer = "its rule matches 3 keys, that of the chosen one 4"
    assert reasons["any_mode.fits", "2024-09-24 00:00:00"] == fewer
    other = reasons["iris_img2_dark_20240101t000000_0.0.1.fits", "2024-01-01 00:00:00"]
    assert other == "DETECTOR is IMG2, IMG1 in the exposure"


@pytest.mark.parametrize(
    ("start", "chosen", "reason"),
    [
        (
            "2025-01-01T00:00:00",
            "iris_img1_bias_20240101t000000_0.0.1.fits",
            "holds from 2026-01-01 00:00:00 on, after",
        ),
        ("2026-01-01T00:00:00", "bias_2026.fits", "holds from 2024-01-01 00:00:00 on, the chosen one from 2026-01-01"),
        ("2023-01-01T00:00:00", None, "holds from 2024-01-01 00:00:00 on, after the start of the exposure"),
    ],
)
def test_use_after(cache, start, chosen, reason):
    traced = trace(cache, "bias", EXPDTST=start)
    assert traced["chosen"] == chosen
    assert any(text.startswith(reason) for text in told(traced).values())
    assert (traced["answer"] == "") == (chosen is not None)


def test_the_choice_is_that_of_the_manifest_for_every_type(cache):
    requests = {"a": make_request(*TYPES, SUBARRAY="CUSTOM", FILTER="KS")}
    chosen = resolve(requests, find_context(cache, None, {}), TYPES, cache, verify=False)["a"]["references"]
    for kind in TYPES:
        traced = trace(cache, kind, None, SUBARRAY="CUSTOM", FILTER="KS")
        assert traced["chosen"] == chosen[kind]["file"]
        assert traced["candidates"][0] == traced["candidates"][0] | {"file": chosen[kind]["file"], "status": "chosen"}


def test_text_for_a_terminal(cache):
    text = format_trace(trace(cache, "flat", FILTER="K"))
    assert text.startswith("flat: none: ")
    assert "rules: ligeriri_iris_flat_0001.rmap (ClosestTime) of ligeriri_0002.pmap" in text
    assert "  not    iris_img1_flat_20240101t020000_0.0.1.fits: FILTER is J, K in the exposure" in text


@pytest.mark.parametrize(
    ("kind", "keys", "text"),
    [("wavesol", {}, "no type of reference 'wavesol'"), ("flat", {"FILTER": "N/A"}, "FILTER is 'N/A'")],
)
def test_what_cannot_be_asked_is_refused(cache, kind, keys, text):
    with pytest.raises(ReductionError, match=text):
        trace(cache, kind, **keys)
