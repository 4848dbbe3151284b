"""A whole night: plan, detectors, scenes, files. The one module here that knows the others."""

import json
import shutil
from functools import partial

import numpy as np

from drs.errors import ReductionError
from drs.schema import keyword_descriptions, load_yaml
from drs.simulation import modes, scene, truth
from drs.simulation.cosmic import SNOWBALL, make_hits, make_snowballs
from drs.simulation.detector import make_detector, simulate_ramp
from drs.simulation.drift import average_reads, make_drift
from drs.simulation.level0 import write_level0
from drs.simulation.observed import observe_offsets
from drs.simulation.plan import detector_geometry, has_windows, list_windows, plan_exposures
from drs.simulation.references import REPO, write_cache
from drs.simulation.streams import make_stream

EFFECTS = {
    "photon_noise": "Poisson noise of photons and dark current",
    "read_noise": "noise of each read (rounding to whole counts stays)",
    "ktc": "reset noise, common to the reads of a group",
    "drift": "drift of the pedestal, of output channels, and of odd against even columns, from read to read",
    "row_noise": "1/f noise, common to the pixels of a row",
    "bias": "pattern of the bias (its pedestal stays)",
    "gain": "pixel-to-pixel scatter of the gain (the nominal gain stays)",
    "dark": "dark current, glow and warm pixels",
    "flat": "vignetting and pixel response",
    "nonlinearity": "counts that grow slower than charge",
    "saturation": "full well",
    "cosmic_rays": "cosmic rays",
    "bad_pixels": "dead and hot pixels",
    "sky": "sky background",
    "sky_scatter": "change of sky and lamp from exposure to exposure",
    "stars": "stars",
    "galaxies": "galaxies",
    "dithers": "dithers",
    "defects": "truncated file, file without DETECTOR, engineering exposure",
}
OPTIONAL = {
    "unstable_pixels": "pixels whose reads jump between two levels (telegraph), and pixels of high read noise",
    "ipc": "interpixel capacitance: a part of the signal in each of the four neighbours",
    "snowballs": "discs of saturating charge with a halo",
    "distortion": "distortion of the optics, on every exposure with light from the sky or a mask",
    "refraction": "refraction and aberration of fields, which the air and the Earth's motion shrink",
    "guide_windows": "windows on the detector that are reset at every read of science and sky exposures",
}
UNLIT, LAMP = ("dark", "bias"), ("flat", "engineering", "transfer-flat", "saturated-flat", "lenslet-scan", "arc")
ROWS_PER_BLOCK = 64  # rows simulated at a time: 32 reads of 4096 columns take 70 MB
GIVEN = {  # catalogue that a night has: its lines of the configuration
    "standards.ecsv": "make_photometry:\n  catalogue: standards.ecsv\n",
    "starfield.ecsv": "make_field_distortion:\n  catalogue: starfield.ecsv\n",
}
SPECTRA = "make_sensitivity:\n  standards: {spectra}\n  extinction_mag: 0.0\n"  # no air dims the simulated stars
CONFIG = "crds:\n  cache: crds_cache\n"


def simulate_night(night, preset_name, *, seed, without=(), extra=()):
    """Write a night's folder: raw/, crds_cache/, config.yaml, truth/.

    Parameters
    ----------
    night : Path
    preset_name : str
        Entry of `presets` in config/presets.yaml.
    seed : int
        The same seed and effects give the same bytes.
    without : collection of str
        Names of EFFECTS to leave out.
    extra : collection of str
        Names of OPTIONAL effects to switch on.

    Returns
    -------
    int
        Number of raw files.
    """
    raw, part = night / "raw", night / ".raw.part"
    _check_free(night, part)
    facts, instruments = load_facts()
    preset = facts["presets"][preset_name]
    without = frozenset(without) | (OPTIONAL.keys() - set(extra))
    exposures = plan_exposures(preset, facts, instruments, without=without)
    for folder in (part, night / "truth", night / "crds_cache"):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (part, night / "truth"):
        folder.mkdir(parents=True)
    world = World(preset, facts, instruments, seed, without)
    world.write_references(night, exposures)
    rows = [world.write_exposure(exposure, part, night / "truth") for exposure in exposures]
    n_file = len(list(part.iterdir()))
    world.write_catalogues(night / "truth", exposures, rows)
    given = [text for name, text in GIVEN.items() if (night / name).exists()]
    spectra = world.write_spectra(night, exposures)
    (night / "config.yaml").write_text("".join([CONFIG, *given, spectra]))
    if raw.exists():
        raw.rmdir()
    part.rename(raw)  # last, so that a night with raw/ is a whole night
    return n_file


def _check_free(night, part):
    """Refuse a folder that holds a night; what a killed simulation left, with its `part`, may be replaced."""
    made = [night / name for name in ("raw", "crds_cache", "truth")]
    held = [folder for folder in made if folder.exists() and any(folder.iterdir())]
    if held and (not part.exists() or made[0] in held):
        raise ReductionError(f"{held[0]} holds files already: give a new folder, or remove it first")


def load_facts():
    """Return config/presets.yaml and {INSTRUME: content of config/instruments/*.yaml}."""
    folder = REPO / "config" / "instruments"
    instruments = [load_yaml(folder / f"{name}.yaml") for name in ("iris", "liger")]
    return load_yaml(REPO / "config" / "presets.yaml"), {entry["name"]: entry for entry in instruments}


def list_presets():
    """Return the names of the presets."""
    return list(load_yaml(REPO / "config" / "presets.yaml")["presets"])


class World:
    """The simulated sky and detectors of one preset, seed and choice of effects."""

    def __init__(self, preset, facts, instruments, seed, without):
        self.preset, self.facts, self.instruments = preset, facts, instruments
        self.seed, self.without = seed, without
        keys = [(name, detector) for name, detectors in preset["detectors"].items() for detector in detectors]
        self.geometry = {key: detector_geometry(preset, instruments, *key) for key in keys}
        if "distortion" not in without:
            self.geometry = {key: {**made, "distortion": facts["distortion"]} for key, made in self.geometry.items()}
        self.areas = {key: scene.measure_area(made) for key, made in self.geometry.items()}
        self.detectors = {key: self._make_detector(key) for key in keys}
        own = [(*key, mode) for key in keys for mode in modes.list_modes(preset, key)]
        self.spectrographs = {key: self._make_spectrograph(*key) for key in own}
        self.fields = {}

    def _make_detector(self, key):
        """Return the Detector of (INSTRUME, DETECTOR)."""
        shape = (self.geometry[key]["size_y_pix"], self.geometry[key]["size_x_pix"])
        stream = partial(make_stream, self.seed, *key)
        return make_detector(shape, self.physics(key), stream=stream, without=self.without)

    def physics(self, key):
        """Return section `detector` of the presets for (INSTRUME, DETECTOR), with its border and output channels."""
        readout = {name: self.geometry[key][name] for name in ("border_pix", "n_channel")}
        own = self.geometry[key].get("physics", self.preset.get("physics", {}))
        return {**self.facts["instruments"][key[0]]["detector"], **own, **readout}

    def _make_spectrograph(self, instrument, detector, mode):
        """Return the spectrograph of (INSTRUME, DETECTOR, INSTMODE)."""
        stream = make_stream(self.seed, instrument, detector, "throughput")
        return modes.make_spectrograph(self.preset, mode, self.detectors[instrument, detector].dq.shape, stream)

    def write_references(self, night, exposures):
        """Write the CRDS cache and the truth of the detectors."""
        filters = {key: {e.sequence["filter"] for e in exposures if _detector_of(e) == key} for key in self.detectors}
        headers = {key: self._detector_keywords(key) for key in self.detectors}
        old = self.facts["old_references"]
        stream = partial(make_stream, self.seed, "reference")
        spectrographs = self.spectrographs
        write_cache(
            night / "crds_cache", self.detectors, filters, headers, old, stream=stream, spectrographs=spectrographs
        )
        for key, detector in self.detectors.items():
            truth.write_detector(night / "truth" / f"{'_'.join(key).lower()}_detector.fits", detector, self.areas[key])

    def _detector_keywords(self, key):
        """Return the keywords of all references of (INSTRUME, DETECTOR)."""
        instrument, modes = self.instruments[key[0]], list(self.geometry[key]["modes"])
        keywords = {"TELESCOP": instrument["telescope"], "INSTERA": instrument["era"]}
        return keywords | ({"INSTMODE": modes[0]} if len(modes) == 1 else {})

    def light(self, exposure, level, sources):
        """Return what falls on the detector, e-/s, (ny, nx), and the light (column, ny, nx) of spectra or None."""
        geometry = self._see_through_air(exposure)
        if exposure.sequence["kind"] == "pinhole":
            return level + self._light_of_pinholes(exposure, geometry), None
        if "scale_arcsec" in geometry:
            uniform = level * self.areas[_detector_of(exposure)]
            return uniform + scene.render_sources(sources, exposure.pointing, geometry, self.facts["psf"]), None
        is_lit, mode = exposure.sequence["kind"] not in UNLIT, exposure.keywords["INSTMODE"]
        made = self.spectrographs.get((*_detector_of(exposure), mode))
        if made is None or (not is_lit and mode == "SLICER"):
            return level + scene.render_traces(exposure.shape, **self.facts["traces"]) * is_lit, None
        hidden = _find_hidden(self.without)
        return modes.render(made, self.preset[modes.FACTS[mode]], exposure, level, geometry["fields"][mode], hidden)

    def _see_through_air(self, exposure):
        """Return the geometry of an exposure, with how its field is seen where the air is simulated."""
        geometry, site = self.geometry[_detector_of(exposure)], self.instruments[exposure.keywords["INSTRUME"]]
        if "refraction" in self.without:
            return geometry
        how = {"mjd": exposure.keywords["EXPMJDMD"], "site": site, "air": self.facts["air"]}
        return geometry | {"observe": partial(observe_offsets, **how)}

    def _light_of_pinholes(self, exposure, geometry):
        """Return the light through a mask of pinholes that is moved from exposure to exposure, e-/s, (ny, nx)."""
        facts, number = dict(self.facts["pinholes"]), exposure.keywords["EXPNUM"]
        flux, shifts = facts.pop("flux_e_per_s"), facts.pop("shifts_pix")
        facts["shift_pix"] = shifts[(number - 1) % len(shifts)]
        stream = make_stream(self.seed, *_detector_of(exposure), "pinholes")
        places = scene.place_pinholes(exposure.shape, **facts, stream=stream)
        return scene.render_pinholes(geometry, self.facts["psf"], places, flux)

    def sources(self, exposure):
        """Return the field of an exposure and its sources; '' and none for calibrations."""
        kind = exposure.sequence["kind"]
        key = _detector_of(exposure)
        if kind not in self.preset["source_fields"] or "scale_arcsec" not in self.geometry[key]:
            return "", []
        field = "_".join((*key, exposure.sequence["obsnum"], kind)).lower()
        if field not in self.fields:
            sequence = exposure.sequence
            base = (sequence["ra_deg"], sequence["dec_deg"], sequence["pa_deg"])
            stream = partial(make_stream, self.seed, field)
            numbers, galaxies = self.preset["source_fields"][kind], self.preset["galaxies"]
            sources = make_sources(numbers, galaxies, base, self.geometry[key], stream)
            hidden = _find_hidden(self.without)
            self.fields[field] = [source for source in sources if source["kind"] not in hidden]
        return field, self.fields[field]

    def background(self, exposure):
        """Return the uniform light of an exposure, e-/s: the lamp of a flat, the sky otherwise, nothing for a dark."""
        kind, light = exposure.sequence["kind"], self.facts["filters"][exposure.sequence["filter"]]
        is_lamp = kind in LAMP
        if kind in (*UNLIT, "pinhole", "fibre") or ("sky" in self.without and not is_lamp):
            return 0.0
        level = light["lamp_e_per_s"] * exposure.sequence.get("lamp_scale", 1.0) if is_lamp else light["sky_e_per_s"]
        if "sky_scatter" in self.without:
            return level
        # without the detector: all detectors of a telescope look at one sky
        together = (exposure.identity[0], *exposure.identity[2:], "sky_scatter")
        scatter = self.facts["lamp_scatter" if is_lamp else "sky_scatter"]
        scatter = self.preset["lenslets"]["lamp_scatter"] if kind == "lenslet-scan" else scatter
        return level * (1.0 + scatter * make_stream(self.seed, *together).standard_normal())

    def write_exposure(self, exposure, raw, folder):
        """Write one exposure and its truth; return its row of the list of exposures."""
        key, n_average = _detector_of(exposure), exposure.n_average
        level, (field, sources) = self.background(exposure), self.sources(exposure)
        light, cube = self.light(exposure, level, sources)
        hits, snowballs = self._make_hits(exposure, key)
        stream = partial(make_stream, self.seed, *exposure.identity)
        drift = make_drift(exposure.frames_s, exposure.shape, self.physics(key), stream=stream, without=self.without)
        order = self.facts["instruments"][key[0]]["axis_order"]
        meaning = keyword_descriptions()
        cards = [(keyword, value, meaning.get(keyword, "")) for keyword, value in exposure.keywords.items()]
        form = exposure.form
        if form == "no-detector":
            cards, form = [card for card in cards if card[0] != "DETECTOR"], ""
        blocks = self._blocks(exposure, light, hits, drift)
        path = raw / exposure.name
        path = write_level0(path, cards, exposure.times_s, blocks, shape=exposure.shape, order=order, form=form)
        stem = path.name.removesuffix(".gz").removesuffix(".fits")
        header = {"RAWFILE": path.name, "SKYLEVEL": float(level), **exposure.keywords}
        for events in (hits, snowballs):
            events["READ"] //= n_average  # from the reads of the detector to those that are stored
        place = folder / f"{stem}_truth.fits"
        truth.write_exposure(place, light, hits, snowballs, drift.average(n_average), header)
        if cube is not None:
            made = self.spectrographs[*key, exposure.keywords["INSTMODE"]]
            modes.write_truth(folder / f"{stem}_cube.fits", made, cube, header)
        return {"file": path.name, "field": field, "form": exposure.form, "sky_e_per_s": float(level)}

    def _make_hits(self, exposure, key):
        """Return the charge of the cosmic rays and snowballs of an exposure, and the snowballs."""
        stream = partial(make_stream, self.seed, *exposure.identity)
        rate = 0.0 if "cosmic_rays" in self.without else self.preset["cosmic_rays_per_cm2_s"]
        place = {"pixel_um": self.physics(key)["pixel_um"]}
        frame = exposure.frames_s, exposure.shape
        hits = make_hits(*frame, rate_per_cm2_s=rate, stream=stream("cosmic_rays"), **place)
        snowballs = np.zeros(0, dtype=SNOWBALL)
        if "snowballs" not in self.without:
            facts = {**self.facts["snowballs"], **self.preset["snowballs"]}
            snowballs, more = make_snowballs(*frame, facts=facts, stream=stream("snowballs"), **place)
            hits = np.concatenate([hits, more])
        return hits[self.detectors[key].active[hits["Y"], hits["X"]]], snowballs

    def _blocks(self, exposure, light, hits, drift):
        """Yield (rows, reads) of an exposure, block by block; each is made with the rows that couple to its own."""
        detector = self.detectors[_detector_of(exposure)]
        if has_windows(exposure.sequence, self.without):
            detector = detector.with_windows(list_windows(exposure.sequence, self.preset))
        n_row, halo = exposure.shape[0], int(detector.coupling > 0)
        for first in range(0, n_row, ROWS_PER_BLOCK):
            rows = slice(first, min(first + ROWS_PER_BLOCK, n_row))
            padded = slice(max(first - halo, 0), min(rows.stop + halo, n_row))
            part = detector.rows(padded)
            local = hits[(hits["Y"] >= padded.start) & (hits["Y"] < padded.stop)]
            local["Y"] -= padded.start
            rates = part.rate(light[padded]), exposure.frames_s, part
            effects = {"hits": local, "drift": drift.rows(padded), "without": self.without}
            reads = simulate_ramp(*rates, **effects, stream=self._stream_of_rows(exposure, padded.start))
            inside = slice(rows.start - padded.start, rows.stop - padded.start)
            yield rows, _average_counts(reads[:, :, inside], exposure.n_average)

    def _stream_of_rows(self, exposure, first):
        """Return (effect, row) -> random generator for rows counted from `first`."""
        return lambda effect, row: make_stream(self.seed, *exposure.identity, effect, first + row)

    def write_catalogues(self, folder, exposures, rows):
        """Write the sources of each field, their places in each exposure, and the list of exposures."""
        columns = ("INSTRUME", "DETECTOR", "IMTYPE", "OBSNUM", "EXPNUM", "FILTER", "RA", "DEC", "PA", "EXPDTST")
        listed = [{**row, **{c: e.keywords[c] for c in columns}} for row, e in zip(rows, exposures, strict=True)]
        truth.write_table(folder / "exposures.ecsv", listed, dict.fromkeys(listed[0], ("", "")))
        for name, kind in (("standards.ecsv", "flux-star"), ("starfield.ecsv", "star-field")):
            stars = [source for field, found in self.fields.items() if field.endswith(kind) for source in found]
            if stars:
                columns = {column: [star[column] for star in stars] for column in ("ra_deg", "dec_deg")}
                mags = self.facts["zero_point_mag"] - 2.5 * np.log10([star["flux_e_per_s"] for star in stars])
                truth.write_standards(folder.parent / name, {**columns, "mag": mags})
        for field, sources in self.fields.items():
            truth.write_table(folder / f"{field}_sources.ecsv", sources, truth.SOURCE_COLUMNS)
            places = []
            for row, exposure in zip(rows, exposures, strict=True):
                if row["field"] == field:
                    places += self._places(row["file"], exposure, sources)
            truth.write_table(folder / f"{field}_positions.ecsv", places, truth.POSITION_COLUMNS)

    def write_spectra(self, night, exposures):
        """Write the spectra of the standard stars of spectrographs; return the lines of the configuration on them."""
        named = {}
        for exposure in exposures:
            mode, name = exposure.keywords["INSTMODE"], f"{exposure.keywords['OBJECT']}.ecsv"
            if exposure.sequence["kind"] != "flux-star" or mode not in modes.FACTS:
                continue
            table = modes.tabulate_standard(self.preset[modes.FACTS[mode]], exposure.shape)
            table.write(night / name, format="ascii.ecsv", overwrite=True)
            named[exposure.keywords["OBJECT"]] = name
        return SPECTRA.format(spectra=json.dumps(named)) if named else ""

    def _places(self, file, exposure, sources):
        """Return one row per source: where it falls on the detector in this exposure."""
        geometry, number = self._see_through_air(exposure), exposure.keywords["EXPNUM"]
        places = []
        for source in sources:
            x_pix, y_pix = scene.sky_to_pixel(source["ra_deg"], source["dec_deg"], exposure.pointing, geometry)
            place = {"x_pix": float(x_pix), "y_pix": float(y_pix)}
            places.append({"file": file, "exposure": number, "source": source["source"], **place})
        return places


def _average_counts(reads_dn, n_average):
    """Return the means of so many reads each, rounded to whole counts."""
    return reads_dn if n_average == 1 else np.rint(average_reads(reads_dn, n_average)).astype(reads_dn.dtype)


def _find_hidden(without):
    """Return the kinds of sources that are left out."""
    return {kind for kind, effect in (("star", "stars"), ("galaxy", "galaxies")) if effect in without}


def _detector_of(exposure):
    """Return (INSTRUME, DETECTOR)."""
    return exposure.identity[:2]


def make_sources(numbers, galaxies, pointing, geometry, stream):
    """Return the stars and galaxies of one detector's field.

    Parameters
    ----------
    numbers : dict
        n_star, n_galaxy, faint_e_per_s, bright_e_per_s, separation_pix, margin_pix.
    galaxies : dict
        faint_e_per_s, bright_e_per_s, radius_pix [low, high], axis_ratio [low, high].
    pointing : (ra_deg, dec_deg, pa_deg)
        About which they are placed, inside the detector by `margin_pix`.
    geometry : dict
    stream : callable
        purpose -> numpy.random.Generator.

    Returns
    -------
    list of dict
        Columns of `drs.simulation.truth.SOURCE_COLUMNS`; fluxes are spaced evenly in magnitude.
    """
    n_star, n_galaxy = numbers["n_star"], numbers["n_galaxy"]
    shape = (geometry["size_y_pix"], geometry["size_x_pix"])
    apart = {"separation": numbers["separation_pix"], "margin": numbers["margin_pix"]}
    x_pix, y_pix = scene.place_apart(n_star + n_galaxy, shape, stream=stream("places"), **apart)
    ra_deg, dec_deg = scene.pixel_to_sky(x_pix, y_pix, pointing, geometry)
    random, sources = stream("shapes"), []
    for k in range(n_star + n_galaxy):
        is_star = k < n_star
        own, rank, n = (numbers, k, n_star) if is_star else (galaxies, k - n_star, n_galaxy)
        fall = (own["faint_e_per_s"] / own["bright_e_per_s"]) ** (rank / max(n - 1, 1))
        source = {"source": k + 1, "kind": "star" if is_star else "galaxy"}
        source |= {"ra_deg": float(ra_deg[k]), "dec_deg": float(dec_deg[k])}
        source |= {"flux_e_per_s": float(own["bright_e_per_s"] * fall)}
        shapes = (0.0, 1.0, 0.0)
        if not is_star:
            ranges = (galaxies["radius_pix"], galaxies["axis_ratio"], (0.0, 180.0))
            shapes = tuple(float(random.uniform(*limits)) for limits in ranges)
        sources.append(source | dict(zip(("radius_pix", "axis_ratio", "angle_deg"), shapes, strict=True)))
    return sources
