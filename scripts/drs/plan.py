"""What the workflow asks of a night's plan (plan/night.json): names and members of every product."""

CONFIGURATION = ("INSTRUME", "DETECTOR", "INSTERA", "READMODE", "SUBARRAY", "SUBARRID", "FILTER", "PUPIL")
IDENTITY = ("SEMID", "PROGNUM", "OBSNUM", "EXPNUM")
PICTURED = ("calibrations", "level2", "level3")


def level1(row):
    """Return the Level 1 product of an exposure."""
    return f"level1/{row['obs']}_LVL1_{row['exp']}.fits"


def level2(row):
    """Return the Level 2 product of an exposure."""
    return f"level2/{row['obs']}_LVL2_{row['exp']}.fits"


def quality(product):
    """Return the file of a product's quality numbers."""
    return f"quality/{product.removesuffix('.fits')}.json"


def picture(product):
    """Return the preview of a product."""
    return f"quicklook/{product.removesuffix('.fits')}.png"


class Plan:
    """The products of a night and what each is made from.

    Parameters
    ----------
    night : dict
        Content of plan/night.json.
    read_index : callable
        stage -> content of references/<stage>.json. Called for every combination before its members are named: the
        workflow makes it wait for CRDS there, and so runs again only what CRDS's answer changes.
    """

    def __init__(self, night, read_index):
        self.night = night
        self.exposures = {row["id"]: row for row in night["rows"] if row["status"] == "accepted"}
        self.stages = list(night["stages"])
        self.stage_of = {identity: stage for stage, members in night["stages"].items() for identity in members}
        self._read_index = read_index

    def products(self, *levels):
        """Return the products of levels: level1, calibrations, level2, level3, or quicklook (their pictures)."""
        by_level = self._by_level(self.exposures.values())
        pictured = [by_level[level] for level in PICTURED]
        by_level["quicklook"] = [picture(product) for products in pictured for product in products]
        return [product for level in levels for product in by_level[level]]

    def _by_level(self, rows):
        """Return level -> products that these exposures and the night's combinations make."""
        images = [row for row in rows if row["kind"] in ("science", "sky")]
        return {
            "level1": [level1(row) for row in rows],
            "calibrations": [f"calibrations/{name}.fits" for name in self.combinations],
            "level2": [level2(row) for row in images],
            "level3": [f"level3/{group}_LVL3.fits" for group in self.night["groups"]],
        }

    def reported(self):
        """Return (quality files, pictures) of all products, after CRDS was asked."""
        by_level = self._by_level(self.members(self.exposures))
        pictured = [product for level in PICTURED for product in by_level[level]]
        qualities = [quality(product) for products in by_level.values() for product in products]
        return qualities, [picture(product) for product in pictured]

    def indexes(self):
        """Return the indexes of all stages, after CRDS was asked."""
        for stage in self.stages:
            self._read_index(stage)
        return [f"references/{stage}.json" for stage in self.stages]

    @property
    def combinations(self):
        """Calibrations made from several exposures: name -> entry of the plan."""
        return self.night["masters"] | self.night["skies"]

    def raw(self, wildcards):
        """Return the Level 0 file of an exposure."""
        return f"raw/{self.exposure(wildcards)['file']}"

    def exposure(self, wildcards):
        """Return the row of an exposure."""
        return self.exposures[f"{wildcards.obs}_{wildcards.exp}"]

    def identity(self, wildcards):
        """Return the keywords that hold for an exposure where its header has none."""
        keys = self.exposure(wildcards)["keys"]
        return {key: keys[key] for key in (*CONFIGURATION, *IDENTITY, "IMTYPE", "EXPDTST")}

    def instrument(self, wildcards):
        """Return the name of an exposure's instrument file."""
        return self.exposure(wildcards)["keys"]["INSTRUME"].lower()

    def context_before(self, stage):
        """Return the file that names the context in which a stage is resolved."""
        position = self.stages.index(stage)
        return f"references/contexts/{self.stages[position - 1]}.json" if position else "plan/context.json"

    def masters_of(self, stage):
        """Return the calibrations that are delivered after a stage."""
        return [f"calibrations/{name}.fits" for name, entry in self.night["masters"].items() if entry["stage"] == stage]

    def members(self, identities):
        """Return the rows of exposures, after CRDS was asked for all of them."""
        for stage in sorted({self.stage_of[identity] for identity in identities}):
            self._read_index(stage)
        return [self.exposures[identity] for identity in identities]

    def rates(self, name):
        """Return the Level 1 products that a calibration combines."""
        rows = self.members(self.combinations[name]["members"])
        return [level1(row) for row in rows]

    def manifests(self, name):
        """Return the manifests of the members of a calibration, in the order of `rates`."""
        return [f"references/{row['id']}.json" for row in self.members(self.combinations[name]["members"])]

    def images(self, group):
        """Return the Level 2 products that a Level 3 group combines."""
        rows = self.members(self.night["groups"][group]["members"])
        return [level2(row) for row in rows]

    def sky(self, wildcards, method):
        """Return (method, frames) of an exposure's sky subtraction: frame, median or none.

        `method` is the configured one; `auto` takes the plan's sky frame, and the median where there is none.
        """
        identity = f"{wildcards.obs}_{wildcards.exp}"
        choice = self.night["sky"].get(identity)
        if choice is None:
            return "none", []
        if method == "auto":
            method = "frame" if choice["choice"] else "median"
        return method, [f"calibrations/{choice['choice']}.fits"] if method == "frame" else []
