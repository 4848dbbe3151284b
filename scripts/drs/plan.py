"""What the workflow asks of a night's plan (plan/night.json): names and members of every product."""

import json
import re
from functools import cached_property
from pathlib import Path

from drs.naming import (
    IMAGED_STARS,
    MADE,
    PICTURED,
    STARS,
    THROUGH_SKY,
    identity_keywords,
    level1,
    level2,
    list_products,
    options,
    picture,
    quality,
)


def _find_unit(row):
    """Return instrument, detector and IMTYPE of an exposure, as its `obs` names them."""
    return row["obs"].partition("_")[2]


class Plan:
    """The products of a night and what each is made from.

    Parameters
    ----------
    night : dict
        Content of plan/night.json.
    ask_crds : callable
        stage -> its index, references/<stage>.json; until CRDS was asked for it, an exception (Snakemake's way to
        wait) whose `targetfile` stands for what is not known yet. Snakemake makes each job whose inputs raise it a
        second time, in every round; with the file as an input the job waits as well.
    """

    def __init__(self, night, ask_crds):
        self.night = night
        self.exposures = {row["id"]: row for row in night["rows"] if row["status"] == "accepted"}
        self.stages = list(night.get("order", night["stages"]))  # JSON sorts the keys of the latter
        self.stage_of = {identity: stage for stage, members in night["stages"].items() for identity in members}
        self._ask_crds = ask_crds

    def products(self, *levels):
        """Return the products of levels: level1, calibrations, level2, level3; their quality; their quicklook.

        A rate has a picture where nothing is made from it.
        """
        rows = self.exposures.values()
        single = [product for row in rows for product in list_products(row, self.night)]
        by_level = {
            "level1": [level1(row) for row in rows],
            "calibrations": [f"calibrations/{name}.fits" for name in self.combinations],
            "level2": [product for product in single if product.startswith("level2/")],
            "level3": [f"level3/{group}_LVL3.fits" for group in self.night["groups"]],
        }
        by_level["quality"] = [quality(product) for products in by_level.values() for product in products]
        pictured = [product for level in PICTURED for product in by_level[level]]
        pictured += [level1(row) for row in rows if row["id"] in self.night["level1_only"]]
        by_level["quicklook"] = [picture(product) for product in pictured]
        return [product for level in levels for product in by_level[level]]

    def find_left_over(self, folder):
        """Return the products in a night's folder that the plan does not know, for example of excluded exposures."""
        planned = {*self.products(*MADE), *self.spectra(), *self.catalogs()}
        patterns = [f"{level}/*.fits" for level in MADE] + ["level3/*.ecsv"]
        found = [path.relative_to(folder) for pattern in patterns for path in Path(folder).glob(pattern)]
        return sorted(path for path in found if str(path) not in planned and not path.name.startswith("."))

    def after_crds(self, wildcards):
        """Return the index of what CRDS answered for the exposures of a product or stage, after it was asked.

        Every rule that depends on what CRDS chose has such an input: Snakemake then decides about it when the answers
        are there, waits where they will change, and runs again only what they change: an index is `ancient`.
        """
        return self._wait(self._find_stage(wildcards))

    def _wait(self, stage, path=None):
        """Return a path (default the index) that is known when CRDS was asked for a stage; before, what to wait for."""
        answer = self._ask_crds(stage)
        return answer.targetfile if isinstance(answer, Exception) else path or answer

    def _find_stage(self, wildcards):
        """Return the stage of the exposures that a product is made from."""
        if hasattr(wildcards, "stage"):
            return wildcards.stage
        if hasattr(wildcards, "product"):
            return self._stage_of_product(f"{wildcards.level}/{wildcards.product}.fits")
        if hasattr(wildcards, "obs"):
            return self.stage_of[f"{wildcards.obs}_{wildcards.exp}"]
        made = (
            self.night["groups"][wildcards.group] if hasattr(wildcards, "group") else self.combinations[wildcards.name]
        )
        return self.stage_of[made["members"][0]]

    def _stage_of_product(self, product):
        """Return the stage of the exposures that a product is made from."""
        folder, name = product.removesuffix(".fits").split("/")
        if folder in ("level1", "level2"):
            return self.stage_of[name.replace(f"_LVL{folder[-1]}_", "_")]
        entry = self.combinations[name] if folder == "calibrations" else self.night["groups"][name[: -len("_LVL3")]]
        return self.stage_of[entry["members"][0]]

    def indexes(self):
        """Return the indexes of all stages, after CRDS was asked."""
        return [self._wait(stage, f"references/{stage}.json") for stage in self.stages]

    @property
    def combinations(self):
        """Calibrations made from several exposures: name -> entry of the plan."""
        return self.night["masters"] | self.night["skies"]

    def raw(self, wildcards):
        """Return the Level 0 files of an exposure: one, or one per read in the order of ramps and reads."""
        return [f"raw/{file}" for file in self.exposure(wildcards)["files"]]

    def exposure_options(self, wildcards):
        """Return the options that name the Level 0 files of an exposure and say its facts.

        Files that are too many for a command are named in a file.
        """
        row = self.exposure(wildcards)
        ramp = {"reads": f"plan/reads/{row['id']}.txt"} if len(row["files"]) > 1 else {"ramp": f"raw/{row['file']}"}
        lists = {"corrections": row["corrections"], "drop": row["dropped"], "keys": identity_keywords(row)}
        facts = {key: json.dumps(value, sort_keys=True) for key, value in lists.items()}
        stated = {**ramp, **facts, **{key: row["readout"][key] for key in ("border_pix", "n_channel")}}
        return " ".join(map(options, [stated, *({"note": note} for note in row["notes"])]))

    def seeing(self, wildcards, table):
        """Return the table of the seeing (or none) for an exposure: it matters for what is seen through the sky."""
        return [table] if table and self.exposure(wildcards)["kind"] in THROUGH_SKY else []

    def raw_mb(self, wildcards):
        """Return the size of the Level 0 files of an exposure in MiB."""
        return sum(Path(path).stat().st_size for path in self.raw(wildcards)) >> 20

    def exposure(self, wildcards):
        """Return the row of an exposure."""
        return self.exposures[f"{wildcards.obs}_{wildcards.exp}"]

    def megapixels(self, wildcards):
        """Return the size of an exposure's detector in million pixels; that of the largest where it is not stated."""
        keys = self.exposure(wildcards)["keys"]
        return (keys["DETXSIZE"] or 4096) * (keys["DETYSIZE"] or 4096) / 1e6

    def instrument(self, wildcards):
        """Return the name of an exposure's instrument file."""
        return self.exposure(wildcards)["keys"]["INSTRUME"].lower()

    def instrument_of(self, wildcards):
        """Return the name of the instrument file of a Level 3 group."""
        return self.night["groups"][wildcards.group]["keys"]["INSTRUME"].lower()

    def context_before(self, stage):
        """Return the file that names the context in which a stage is resolved."""
        position = self.stages.index(stage)
        return f"references/contexts/{self.stages[position - 1]}.json" if position else "plan/context.json"

    def masters_of(self, stage):
        """Return the calibrations that are delivered after a stage."""
        return [f"calibrations/{name}.fits" for name, entry in self.night["masters"].items() if entry["stage"] == stage]

    def rates(self, name, which="members"):
        """Return the Level 1 products that a calibration combines (or those of its `further` exposures)."""
        return [level1(self.exposures[identity]) for identity in self.combinations[name][which]]

    def raw_members(self, name, which="members"):
        """Return the Level 0 files of the exposures of a calibration (or of its `further` ones), as rules need them."""
        return [f"raw/{f}" for identity in self.combinations[name][which] for f in self.exposures[identity]["files"]]

    def raw_options(self, name, which="members", option="ramp"):
        """Return the options that name these exposures (files of reads by their list) and say their facts."""
        rows = [self.exposures[identity] for identity in self.combinations[name][which]]
        files = [f"plan/reads/{row['id']}.txt" if len(row["files"]) > 1 else f"raw/{row['file']}" for row in rows]
        facts = [
            {"corrections": row["corrections"], "dropped": row["dropped"], "keys": identity_keywords(row)}
            for row in rows
        ]
        stated = {"ramp": "facts"}.get(option, f"{option}-facts")
        return [*(f"--{option}={file}" for file in files), f"--{stated}={json.dumps(facts, sort_keys=True)}"]

    def first_manifest(self, name):
        """Return the references that Level 1 of the first exposure of a calibration uses, once CRDS was asked."""
        return self._references("level1", self.combinations[name]["members"][0])

    def maker_options(self, name, cache, night_cache, minimum="minimum"):
        """Return the options that all makers of calibrations from raw exposures have."""
        entry = self.combinations[name]
        readout = self.exposures[entry["members"][0]]["readout"]
        stated = {"cache": cache, "night_cache": night_cache, "useafter": entry["useafter"], "minimum": entry[minimum]}
        return options({**stated, **{key: readout[key] for key in ("border_pix", "n_channel")}})

    def used_by(self, name):
        """Return the calibration of the same exposures that one is made with."""
        return f"calibrations/{self.combinations[name]['uses']}.fits"

    def minus(self, name):
        """Return the ids of the exposures with the lamp off that a flat is made with."""
        return self.combinations[name].get("minus", [])

    def level2_of(self, name):
        """Return the Level 2 products that a calibration is measured on."""
        return [level2(self.exposures[identity]) for identity in self.combinations[name]["members"]]

    def level1_references(self, wildcards):
        """Return the references that Level 1 of an exposure uses, once CRDS was asked for its stage."""
        return self._references("level1", f"{wildcards.obs}_{wildcards.exp}")

    def level2_references(self, wildcards):
        """Return the references that Level 2 of an exposure uses, once CRDS was asked for its stage."""
        return self._references("level2", f"{wildcards.obs}_{wildcards.exp}")

    def calibration_references(self, wildcards):
        """Return the references that the members of a calibration use beyond Level 1, in the order of `rates`."""
        return self.references_of(self.combinations[wildcards.name]["members"])

    def _references(self, level, identity):
        """Return the part of an exposure's manifest that a level uses, once CRDS was asked for its stage."""
        return self._wait(self.stage_of[identity], f"references/{level}/{identity}.json")

    def images(self, group):
        """Return the Level 2 products that a Level 3 group combines."""
        return [level2(self.exposures[identity]) for identity in self.night["groups"][group]["members"]]

    def flux_pattern(self, *, cubes):
        """Return the pattern of the names of the flux calibrations of cubes, or of images; of none without any."""
        return self._match_names("flux", lambda row: (row["mode"] != "imager") == cubes)

    def distortion_pattern(self, kind):
        """Return the pattern of the names of the distortions that are made of a kind of exposure; of none without."""
        return self._match_names("distortion", lambda row: row["kind"] == kind)

    def _match_names(self, reftype, fits):
        """Return the pattern of the names of the calibrations of a type whose first exposure fits; of none without."""
        first = {name: entry["members"][0] for name, entry in self.combinations.items() if entry["type"] == reftype}
        names = [name for name, member in first.items() if fits(self.exposures[member])]
        return "|".join(sorted(map(re.escape, names))) or "(?!)"

    def standard(self, name, tables):
        """Return the table of the star of a flux calibration, of {OBJECT: table}, where there is one."""
        star = self.exposures[self.combinations[name]["members"][0]]["keys"].get("OBJECT")
        return [tables[star]] if star in tables else []

    def obs_pattern(self, mode):
        """Return the pattern of the `obs` of all exposures of a mode that have a Level 2; of none where there is none.

        One observation has one mode: Snakemake finds the rule of a product by it. Where all exposures of a detector
        and type have one mode, these two say it: each job on a cluster reads these patterns, and would read longer
        ones for longer nights.
        """
        rows = [row for row in self.exposures.values() if len(list_products(row, self.night)) > 1]
        modes = {}
        for row in rows:
            modes.setdefault(_find_unit(row), set()).add(row["mode"])
        units = [f"[^_/]+_{re.escape(unit)}" for unit, found in sorted(modes.items()) if found == {mode}]
        mixed = {row["obs"] for row in rows if row["mode"] == mode and modes[_find_unit(row)] != {mode}}
        return "|".join([*units, *map(re.escape, sorted(mixed))]) or "(?!)"

    def sky_cube(self, wildcards, method):
        """Return (method, cubes) of the sky subtraction of a cube: cube, blank or none.

        `method` is the configured one; `auto` takes the plan's sky exposure, blank spaxels where there is none.
        """
        choice = self.night["sky"].get(f"{wildcards.obs}_{wildcards.exp}")
        if choice is None:  # a star fills few spaxels of its field, and has no sky of its own in the plan
            return ("blank" if self.exposure(wildcards)["kind"] in STARS and method != "none" else "none"), []
        if method == "auto":
            method = "cube" if choice["choice"] else "blank"
        return method, [level2(self.exposures[choice["choice"]])] if method == "cube" else []

    def sky_frame(self, wildcards, method):
        """Return [Level 1, references of it] of the exposure whose cube `sky_cube` names; nothing without one."""
        if not self.sky_cube(wildcards, method)[1]:
            return []
        identity = self.night["sky"][f"{wildcards.obs}_{wildcards.exp}"]["choice"]
        return [*self.rates_of([identity]), *self.references_of([identity])]

    def catalogs(self):
        """Return the catalogues of the night's mosaics."""
        return [f"level3/{group}_CAT.ecsv" for group, entry in self.night["groups"].items() if not entry.get("cubes")]

    def spectra(self):
        """Return the spectra of the sources of the night's combined cubes."""
        return [f"level3/{group}_SPEC.fits" for group, entry in self.night["groups"].items() if entry.get("cubes")]

    def plots(self):
        """Return the plots of these spectra, and the maps of these cubes."""
        groups = [group for group, entry in self.night["groups"].items() if entry.get("cubes")]
        return [f"quicklook/{folder}/{group}.png" for folder in ("spectra", "maps") for group in groups]

    def group_pattern(self, *, cubes):
        """Return the pattern of the names of the Level 3 groups of cubes, or of images; of none where there is none."""
        names = [re.escape(name) for name, entry in self.night["groups"].items() if bool(entry.get("cubes")) == cubes]
        return "|".join(sorted(names)) or "(?!)"

    def mosaic_options(self, group):
        """Return the options of a group that joins detectors or subarrays: they have their places from headers."""
        return ["--mosaic", "--offsets=header"] if self.night["groups"][group].get("mosaic") else []

    def offsets(self, choice):
        """Return the table of the offsets of dithers, where one is configured in place of a method."""
        return [] if choice in ("header", "measured") else [choice]

    def sky(self, wildcards, settings):
        """Return (method, files) of an exposure's sky subtraction: frame, iterative, median or none.

        `settings` are `quality`, `sky`: the configured method, and `sky_minimum`. The method `auto` takes the median
        for `quality: online`, else the plan's sky frame, else the other dithers of the field where there are enough
        (then the file is the mask of its objects), else the median.
        """
        identity = f"{wildcards.obs}_{wildcards.exp}"
        choice, method = self.night["sky"].get(identity), settings["sky"]
        if choice is None:
            return "median" if self.exposure(wildcards)["kind"] in IMAGED_STARS else "none", []
        group, members = self._find_group(identity)
        if method == "auto":
            is_dithered = len(members) > settings["sky_minimum"]
            method = "frame" if choice["choice"] else "iterative" if is_dithered else "median"
            method = "median" if settings["quality"] == "online" else method
        frames = {"frame": f"calibrations/{choice['choice']}.fits", "iterative": f"level2/masks/{group}_MASK.fits"}
        return method, [frames[method]] if method in frames else []

    def dithers(self, wildcards, settings):
        """Return the ids of the exposures that an exposure's iterative sky is made from, itself included; else none."""
        is_iterative = self.sky(wildcards, settings)[0] == "iterative"
        return self._find_group(f"{wildcards.obs}_{wildcards.exp}")[1] if is_iterative else []

    def sky_inputs(self, wildcards, settings):
        """Return what the sky of an exposure is made from: sky (a frame or a mask of objects), dithers, manifests."""
        dithers = self.dithers(wildcards, settings)
        rates, references = self.rates_of(dithers), self.references_of(dithers)
        return {"sky": self.sky(wildcards, settings)[1], "dithers": rates, "dither_manifests": references}

    def _find_group(self, identity):
        """Return the name and the members of the (first) Level 3 group of a science exposure."""
        name = self._group_of.get(identity, "")
        return name, self.night["groups"][name]["members"] if name else []

    @cached_property
    def _group_of(self):
        """Return exposure -> the first Level 3 group that it is a member of."""
        groups = reversed(self.night["groups"].items())
        return {identity: name for name, entry in groups for identity in entry["members"]}

    def rates_of(self, identities):
        """Return the Level 1 products of exposures."""
        return [level1(self.exposures[identity]) for identity in identities]

    def references_of(self, identities):
        """Return the references that exposures use beyond Level 1, once CRDS was asked for their stages."""
        return list(dict.fromkeys(self._references("level2", identity) for identity in identities))

    def psf_of(self, wildcards):
        """Return the references of the PSF of a Level 3 group, those of its first exposure; none of several detectors.

        They are a part of a manifest of their own: another PSF makes no image again.
        """
        entry = self.night["groups"][wildcards.group]
        used = [first for first in entry["members"][:1] if "psf" in self.night["needs"][first]]
        return [] if entry.get("mosaic") else [self._references("level3", first) for first in used]

    def members(self, wildcards):
        """Return the ids of the exposures of a Level 3 group."""
        return self.night["groups"][wildcards.group]["members"]
