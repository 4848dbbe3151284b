"""The spectrographs of a night: what each mode, lenslets or slices, shows of an exposure."""

from pathlib import Path

from drs.rectmat import lit_lenslets
from drs.simulation import air, slicers, spectrograph, truth
from drs.simulation.plan import list_sequences

LISTS = Path(__file__).resolve().parents[3] / "config" / "lines"
FACTS = {"LENSLET": "lenslets", "SLICER": "slices"}  # INSTMODE -> section of a preset


def make_spectrograph(preset, mode, shape, random):
    """Return the spectrograph of a mode on a detector (ny, nx)."""
    make = {"LENSLET": spectrograph.make_spectrograph, "SLICER": slicers.make_slicer}[mode]
    return make(preset[FACTS[mode]], shape, random)


def list_modes(preset, key):
    """Return the modes of (INSTRUME, DETECTOR) for which a preset has a spectrograph."""
    own = [s for s in list_sequences(preset) if s["instrument"] == key[0] and key[1] in s["detectors"]]
    seen = {sequence.get("instmode") for sequence in own}
    return [mode for mode, section in FACTS.items() if mode in seen and section in preset]


def render(made, facts, exposure, level, field, hidden):
    """Return the light of an exposure on the detector, e-/s, and the sources' part (column, ny, nx) for its truth.

    Parameters
    ----------
    made : Spectrograph or Slicer
    facts : dict
        The mode's section of the preset.
    exposure : Exposure
    level : float
        Of lamp or sky, over that of `facts`.
    field : dict
        Place of the spatial elements (config/instruments).
    hidden : set of str
        Kinds of sources that are left out.
    """
    base = tuple(exposure.sequence.get(key) for key in ("ra_deg", "dec_deg", "pa_deg"))
    scale_arcsec, draw = exposure.keywords["SCALE"], _draw_slices if _has_slices(made) else _draw_lenslets
    return draw(made, facts, exposure, level, (field, scale_arcsec, base, hidden))


def _has_slices(made):
    """Say whether a spectrograph has slices, not lenslets."""
    return isinstance(made, slicers.Slicer)


def _find_sources(facts, kind):
    """Return the sources that an exposure of a kind looks at."""
    return facts.get("sources_of", {}).get(kind, facts["sources"] if kind == "science" else [])


def _find_drift(facts, kind):
    """Return by how many spaxels (y, x) the image of a kind of exposure moves from the first column to the last."""
    known = facts.get("drift", {})
    parts = known.get("optics", (0.0, 0.0)), known.get("air", {}).get(kind, (0.0, 0.0))
    return tuple(map(sum, zip(*parts, strict=True)))


def _draw_lenslets(made, facts, exposure, level, place):
    """Return the light of a lenslet exposure, and the sources' part."""
    field, scale_arcsec, base, hidden = place
    kind, lit, part = exposure.sequence["kind"], 1.0, 0.0 * made.traces.wavelength_um
    if kind == "lenslet-scan":
        shape = made.layout.ny, made.layout.nx
        lit = lit_lenslets(shape, exposure.keywords["SCANPOS"], field["scan_positions"]).ravel()
    if sources := _find_sources(facts, kind):
        geometry = spectrograph.find_geometry(made.layout, field, scale_arcsec)
        sources = spectrograph.make_sources(sources, exposure.pointing if kind == "fibre" else base, geometry, hidden)
        drift = _find_drift(facts, kind)
        part = spectrograph.light_of_sources(made, sources, exposure.pointing, geometry, facts["psf"], drift=drift)
    through_air = part if kind == "fibre" else spectrograph.absorb(made, facts, part)
    light = spectrograph.light_of_field(made, facts, kind, level) + through_air
    flexure = facts["flexure_pix"].get(kind, 0.0)
    on_detector = spectrograph.render_light(made, light, lit=lit, flexure_pix=flexure)
    return on_detector, spectrograph.fold(made.layout, part)


def _draw_slices(made, facts, exposure, level, place):
    """Return the light of a slicer exposure, and the sources' part."""
    field, scale_arcsec, base, hidden = place
    kind, images, tables, seen = exposure.sequence["kind"], [], [], []
    section, lists = {"flat": ("lamp", ()), "arc": ("arc", exposure.sequence.get("lamps", ()))}.get(
        kind, ("sky", ["oh"])
    )
    table = slicers.tabulate(made, facts[section], [LISTS / f"{name}.ecsv" for name in lists])
    steady = slicers.tabulate(made, facts[section]).total if section == "sky" and level else 0.0  # as of lenslets
    uniform = table._replace(total=steady + level * (table.total - steady))
    if sources := _find_sources(facts, kind):
        geometry = slicers.find_geometry(made.layout, field, scale_arcsec)
        sources = spectrograph.make_sources(sources, base, geometry, hidden)
        fine = slicers.find_geometry(made.layout, field, scale_arcsec, slicers.FINE)
        images = slicers.take_images(made, sources, exposure.pointing, fine, facts["psf"])
        tables = [slicers.tabulate(made, source) for source in sources]
        seen = [slicers.absorb(table, facts.get("absorption", ())) for table in tables]
    shift = tuple(facts["flexure_pix"].get(kind, (0.0, 0.0)))
    part = slicers.make_truth(made, images, tables)
    return slicers.render_light(made, uniform, images, seen, shift_pix=shift), part


def tabulate_standard(facts, shape):
    """Return the spectrum of a mode's standard star on a detector (ny, nx), as `drs.simulation.air` does."""
    return air.tabulate_standard(facts, facts["layout"].get("n_column", shape[1]))


def write_truth(path, made, part, keywords):
    """Write the truth of the sources' light (column, ny, nx) of an exposure, with the optics at rest."""
    if _has_slices(made):
        arrays = {"EDGES": (slicers.make_edges(made), "pix"), "WAVESOL": (slicers.make_wavesol(made), "um")}
        arrays["THROUGHPUT"] = (made.throughput, "")
    else:
        rectmat, offsets, wavesol = spectrograph.make_truth(made)
        arrays = {"RECTMAT": (rectmat, ""), "OFFSETS": (offsets, ""), "WAVESOL": (wavesol, "um")}
    truth.write_cube(path, part, arrays, keywords)
