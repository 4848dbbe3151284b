"""What the rules ask of the plan."""

import json
import os
import re
import shlex
from types import SimpleNamespace

import pytest
from nights import INSTRUMENTS, RULES, ifs_scan, scan

from drs.association import associate
from drs.files import read_night, write_night
from drs.night import build_rows
from drs.plan import Plan

AUTO = {"quality": "full", "sky": "auto", "sky_minimum": 3}


@pytest.fixture
def asked():
    """Stages that CRDS was asked for."""
    return []


@pytest.fixture
def ask_crds(asked):
    """Note a stage, and return its index."""

    def ask(stage):
        asked.append(stage)
        return f"references/{stage}.json"

    return ask


@pytest.fixture
def plan(ask_crds):
    """Return the plan of five darks, three skies, two science exposures and a truncated file."""
    scans = {f"d{k}.fits": scan("DARK", k, start=f"2024-09-25T01:0{k}:00") for k in range(5)}
    scans |= {f"k{k}.fits": scan("SKY", 50 + k, start=f"2024-09-25T06:1{k}:00") for k in range(3)}
    scans |= {f"s{k}.fits": scan("SCI", 20 + k, start=f"2024-09-25T06:0{k}:00") for k in range(2)}
    scans["cut.fits"] = {"error": "truncated"}
    rows = build_rows(scans, INSTRUMENTS, RULES, {})
    return Plan({"rows": rows, **associate(rows, RULES)}, ask_crds)


def science(exp="0020-00"):
    """Return the wildcards of a science exposure."""
    return SimpleNamespace(obs="2024B-P123-008_IRIS_IMG1_SCI", exp=exp)


def test_products_of_each_level(plan):
    assert len(plan.products("level1")) == 10
    assert plan.products("level3") == ["level3/2024B-P123_IRIS_IMG1_M-15_Y_20240924_LVL3.fits"]
    assert plan.products("calibrations") == [
        "calibrations/iris_img1_dark_20240925t010000_0.0.1.fits",
        "calibrations/iris_img1_sky_20240925t061000_0.0.1.fits",
    ]
    assert "level2/2024B-P123-008_IRIS_IMG1_SCI_LVL2_0020-00.fits" in plan.products("level2")
    assert len(plan.products("level2")) == 5
    assert len(plan.products("quicklook")) == 8
    assert "quicklook/level3/2024B-P123_IRIS_IMG1_M-15_Y_20240924_LVL3.png" in plan.products("quicklook")


@pytest.fixture
def ifs_plan(ask_crds):
    """Return the plan of five darks, PSF star and science of the slicer, lenslets with sky, and one of the imager."""
    scans = {f"d{k}.fits": ifs_scan("DARK", k, start=f"2024-09-25T01:0{k}:00") for k in range(5)}
    scans |= {"l.fits": ifs_scan("PSF", 20, NCHAN=4), "s.fits": scan("SCI", 21)}
    scans |= {"n.fits": ifs_scan("SCI", 24, OBSNUM="011")}
    scans |= {"m.fits": ifs_scan("SCI", 22, INSTMODE="LENSLET", SCALE=0.009, OBSNUM="010")}
    scans |= {"k.fits": ifs_scan("SKY", 23, INSTMODE="LENSLET", SCALE=0.009, OBSNUM="010")}
    rows = build_rows(scans, INSTRUMENTS, RULES, {})
    return Plan({"rows": rows, **associate(rows, RULES)}, ask_crds)


def test_a_spectrograph_has_rates_darks_and_pictures_of_the_rates_that_nothing_is_made_from(ifs_plan, asked):
    rate = "level1/2024B-P123-008_IRIS_IFS_PSF_LVL1_0020-00.fits"
    assert rate in ifs_plan.products("level1")
    assert ifs_plan.products("calibrations") == ["calibrations/iris_ifs_dark_20240925t010000_0.0.1.fits"]
    assert sorted(ifs_plan.products("level2")) == [
        "level2/2024B-P123-008_IRIS_IMG1_SCI_LVL2_0021-00.fits",
        "level2/2024B-P123-010_IRIS_IFS_SCI_LVL2_0022-00.fits",
        "level2/2024B-P123-010_IRIS_IFS_SKY_LVL2_0023-00.fits",
        "level2/2024B-P123-011_IRIS_IFS_SCI_LVL2_0024-00.fits",
    ]
    assert len(ifs_plan.products("level3")) == 3  # a mosaic, cubes of lenslets and of slices
    assert f"quality/{rate.removesuffix('fits')}json" in ifs_plan.products("quality")
    pictures = [product for product in ifs_plan.products("quicklook") if "/level1/" in product]
    assert pictures == [f"quicklook/{rate.removesuffix('fits')}png"]
    level, product = rate.removesuffix(".fits").split("/")
    assert ifs_plan.after_crds(SimpleNamespace(level=level, product=product)) == "references/detector.json"
    assert asked == ["detector"]


def test_the_rule_of_a_level_2_is_found_by_its_observation(ifs_plan):
    assert ifs_plan.obs_pattern("imager") == "[^_/]+_IRIS_IMG1_SCI"  # for any number of observations
    assert ifs_plan.obs_pattern("lenslet") == "[^_/]+_IRIS_IFS_SKY|2024B\\-P123\\-010_IRIS_IFS_SCI"
    assert ifs_plan.obs_pattern("slicer") == "2024B\\-P123\\-011_IRIS_IFS_SCI"
    assert re.fullmatch(ifs_plan.obs_pattern("slicer"), "2024B-P123-008_IRIS_IFS_PSF") is None


def test_a_night_is_read_as_it_was_written(ifs_plan, tmp_path):
    night = ifs_plan.night | {"stages": {stage: sorted(ids) for stage, ids in ifs_plan.night["stages"].items()}}
    write_night(tmp_path / "night.marshal", night)
    assert read_night(tmp_path / "night.marshal") == night
    os.utime(tmp_path / "night.marshal", (1, 1))
    write_night(tmp_path / "night.marshal", json.loads(json.dumps(night)))
    assert (tmp_path / "night.marshal").stat().st_mtime == 1  # a dry run changes nothing
    (tmp_path / "night.marshal").write_bytes(b"[")
    write_night(tmp_path / "night.marshal", night)
    assert read_night(tmp_path / "night.marshal") == night
    assert [path.name for path in tmp_path.iterdir()] == ["night.marshal"]


def test_groups_of_cubes_and_of_images_have_rules_of_their_own(ifs_plan):
    cubes, of_slices = [name for name, entry in ifs_plan.night["groups"].items() if entry.get("cubes")]
    (images,) = [name for name, entry in ifs_plan.night["groups"].items() if not entry.get("cubes")]
    assert re.fullmatch(ifs_plan.group_pattern(cubes=True), cubes)
    assert not re.fullmatch(ifs_plan.group_pattern(cubes=False), cubes)
    assert re.fullmatch(ifs_plan.group_pattern(cubes=False), images)
    assert ifs_plan.catalogs() == [f"level3/{images}_CAT.ecsv"]
    assert ifs_plan.images(cubes) == ["level2/2024B-P123-010_IRIS_IFS_SCI_LVL2_0022-00.fits"]
    assert ifs_plan.images(of_slices) == ["level2/2024B-P123-011_IRIS_IFS_SCI_LVL2_0024-00.fits"]


def test_the_sky_of_a_cube(ifs_plan):
    science = SimpleNamespace(obs="2024B-P123-010_IRIS_IFS_SCI", exp="0022-00")
    sky = ["level2/2024B-P123-010_IRIS_IFS_SKY_LVL2_0023-00.fits"]
    assert ifs_plan.sky_cube(science, "auto") == ("cube", sky)
    assert ifs_plan.sky_cube(science, "blank") == ("blank", [])
    own = SimpleNamespace(obs="2024B-P123-010_IRIS_IFS_SKY", exp="0023-00")
    assert ifs_plan.sky_cube(own, "auto") == ("none", [])
    frame = ["level1/2024B-P123-010_IRIS_IFS_SKY_LVL1_0023-00.fits"]
    assert ifs_plan.sky_frame(science, "auto") == [*frame, "references/level2/2024B-P123-010_IRIS_IFS_SKY_0023-00.json"]
    assert ifs_plan.sky_frame(science, "blank") == ifs_plan.sky_frame(own, "auto") == []


def test_flux_calibrations_of_images_and_of_cubes_have_rules_of_their_own():
    scans = {"a.fits": scan("FLUX", 1, start="2024-09-25T05:00:00", OBJECT="FS-1")}
    optics = {"INSTMODE": "LENSLET", "GRATING": "4000-H", "OBJECT": "HD-2"}
    scans["b.fits"] = ifs_scan("FLUX", 2, start="2024-09-25T05:10:00", **optics)
    rows = build_rows(scans, INSTRUMENTS, RULES, {})
    plan = Plan({"rows": rows, **associate(rows, RULES)}, lambda stage: None)
    image, cube = "iris_img1_flux_20240925t050000_0.0.1", "iris_ifs_flux_20240925t051000_0.0.1"
    for pattern, name in ((plan.flux_pattern(cubes=False), image), (plan.flux_pattern(cubes=True), cube)):
        assert {other for other in (image, cube) if re.fullmatch(pattern, other)} == {name}
    assert plan.standard(cube, {"HD-2": "hd2.ecsv"}) == ["hd2.ecsv"]
    assert plan.standard(cube, {"HD-1": "hd1.ecsv"}) == []


def test_the_readout_of_an_exposure(ifs_plan):
    star = SimpleNamespace(obs="2024B-P123-008_IRIS_IFS_PSF", exp="0020-00")
    assert ifs_plan.exposure_options(star).endswith(" --border-pix=4 --n-channel=4")
    assert "--n-channel=64" in ifs_plan.exposure_options(science("0021-00"))
    assert ifs_plan.sky(star, AUTO) == ("median", [])


def test_stages_build_on_each_other(plan):
    contexts = [plan.context_before(stage) for stage in plan.stages]
    assert contexts == ["plan/context.json", "references/contexts/detector.json", "references/contexts/optics.json"]
    assert plan.masters_of("detector") == ["calibrations/iris_img1_dark_20240925t010000_0.0.1.fits"]
    assert plan.masters_of("optics") == []


def test_members_of_combinations(plan, asked):
    rates = plan.rates("iris_img1_dark_20240925t010000_0.0.1")
    assert rates[0] == "level1/2024B-P123-008_IRIS_IMG1_DARK_LVL1_0000-00.fits"
    assert (len(rates), asked) == (5, [])
    assert plan.images("2024B-P123_IRIS_IMG1_M-15_Y_20240924") == [
        "level2/2024B-P123-008_IRIS_IMG1_SCI_LVL2_0020-00.fits",
        "level2/2024B-P123-008_IRIS_IMG1_SCI_LVL2_0021-00.fits",
    ]
    sky = SimpleNamespace(name="iris_img1_sky_20240925t061000_0.0.1")
    assert plan.calibration_references(sky)[0] == "references/level2/2024B-P123-008_IRIS_IMG1_SKY_0050-00.json"


def test_every_product_waits_for_the_stage_of_its_exposures(plan, asked):
    group, dark = "2024B-P123_IRIS_IMG1_M-15_Y_20240924", "iris_img1_dark_20240925t010000_0.0.1"
    wildcards = [{"name": dark}, {"obs": "2024B-P123-008_IRIS_IMG1_DARK", "exp": "0000-00"}, {"group": group}]
    wildcards.append({"level": "level3", "product": f"{group}_LVL3"})
    stages = ["detector", "detector", "science", "science"]
    indexes = [plan.after_crds(SimpleNamespace(**given)) for given in wildcards]
    assert indexes == [f"references/{stage}.json" for stage in stages]
    assert asked == stages
    for product in plan.products("level1", "calibrations", "level2", "level3"):
        level, name = product.removesuffix(".fits").split("/")
        assert plan.after_crds(SimpleNamespace(level=level, product=name)) in plan.indexes()
    assert plan.indexes() == ["references/detector.json", "references/optics.json", "references/science.json"]


def test_sky_of_an_exposure(plan):
    frame = "calibrations/iris_img1_sky_20240925t061000_0.0.1.fits"
    assert plan.sky(science(), AUTO) == ("frame", [frame])
    assert plan.sky(science(), AUTO | {"quality": "online"}) == ("median", [])
    assert plan.sky(science(), AUTO | {"sky": "median"}) == ("median", [])
    assert plan.dithers(science(), AUTO) == []
    sky = SimpleNamespace(obs="2024B-P123-008_IRIS_IMG1_SKY", exp="0050-00")
    assert plan.sky(sky, AUTO) == ("none", [])


def test_dithers_make_the_sky_where_there_is_no_frame_and_enough_of_them(asked, ask_crds):
    scans = {f"s{k}.fits": scan("SCI", 20 + k, start=f"2024-09-25T06:0{k}:00") for k in range(4)}
    rows = build_rows(scans, INSTRUMENTS, RULES, {})
    plan = Plan({"rows": rows, **associate(rows, RULES)}, ask_crds)
    mask = "level2/masks/2024B-P123_IRIS_IMG1_M-15_Y_20240924_MASK.fits"
    assert plan.sky(science(), AUTO) == ("iterative", [mask])
    assert plan.sky(science(), AUTO | {"quality": "online"}) == ("median", [])
    assert plan.sky(science(), AUTO | {"sky": "iterative", "quality": "online"}) == ("iterative", [mask])
    assert plan.sky(science(), AUTO | {"sky_minimum": 4}) == ("median", [])
    dithers = plan.dithers(science(), AUTO)
    assert dithers == plan.members(SimpleNamespace(group=mask.split("/")[-1].removesuffix("_MASK.fits")))
    assert plan.rates_of(dithers)[1] == "level1/2024B-P123-008_IRIS_IMG1_SCI_LVL1_0021-00.fits"
    assert plan.references_of(dithers)[1] == "references/level2/2024B-P123-008_IRIS_IMG1_SCI_0021-00.json"
    assert set(asked) == {"science"}


def test_one_exposure(plan):
    assert plan.raw(science()) == ["raw/s0.fits"]
    assert plan.instrument(science()) == "iris"
    assert plan.megapixels(science()) == 48 * 64 / 1e6
    row = plan.exposure(science())
    row["notes"], row["corrections"] = ["it's late", "$(ls)"], [{"set": {"OBJECT": "a b"}, "reason": "wrong"}]
    stated = [option.partition("=")[::2] for option in shlex.split(plan.exposure_options(science()))]
    assert stated[0] == ("--ramp", "raw/s0.fits")
    assert [value for name, value in stated if name == "--note"] == row["notes"]
    assert json.loads(dict(stated)["--corrections"]) == row["corrections"]
    identity = json.loads(dict(stated)["--keys"])
    assert (identity["SEMID"], identity["EXPNUM"], identity["INSTERA"]) == ("2024B", 20, "0.0.1")


def test_until_crds_has_answered_the_answer_is_waited_for(plan):
    class WaitingError(Exception):
        targetfile = "references/science.json"

    waiting = Plan(plan.night, lambda stage: WaitingError())
    assert waiting.after_crds(science()) == waiting.level2_references(science()) == "references/science.json"
    assert waiting.references_of(list(plan.exposures)) == ["references/science.json"]
    assert waiting.indexes() == ["references/science.json"] * len(plan.stages)


def test_the_seeing_matters_through_the_sky_only(plan):
    row = next(row for row in plan.exposures.values() if row["kind"] == "science")
    assert plan.seeing(SimpleNamespace(obs=row["obs"], exp=row["exp"]), "seeing.csv") == ["seeing.csv"]
    assert plan.seeing(SimpleNamespace(obs=row["obs"], exp=row["exp"]), None) == []
    row = next(row for row in plan.exposures.values() if row["kind"] == "dark")
    assert plan.seeing(SimpleNamespace(obs=row["obs"], exp=row["exp"]), "seeing.csv") == []


def test_the_psf_of_a_group_is_that_of_its_first_exposure(plan, ask_crds):
    (group,) = plan.night["groups"]
    wildcards = SimpleNamespace(group=group)
    first = "2024B-P123-008_IRIS_IMG1_SCI_0020-00"
    assert plan.psf_of(wildcards) == [f"references/level3/{first}.json"]
    entry = plan.night["groups"][group]
    assert Plan(plan.night | {"groups": {group: entry | {"mosaic": True}}}, ask_crds).psf_of(wildcards) == []
    needs = plan.night["needs"] | {first: ["dark"]}
    assert Plan(plan.night | {"needs": needs}, ask_crds).psf_of(wildcards) == []


def test_distortions_have_rules_by_what_they_are_made_of(ask_crds):
    scans = {f"a{k}.fits": scan("ASTROM", 80 + k, start=f"2024-09-25T05:0{k}:00", FILTER="H") for k in range(3)}
    scans["p.fits"] = scan("PINHOLE", 70, start="2024-09-25T02:00:00")
    rows = build_rows(scans, INSTRUMENTS, RULES, {})
    plan = Plan({"rows": rows, **associate(rows, RULES)}, ask_crds)
    assert re.fullmatch(plan.distortion_pattern("star-field"), "iris_img1_distortion_20240925t050000_0.0.1")
    assert re.fullmatch(plan.distortion_pattern("pinhole"), "iris_img1_distortion_20240925t020000_0.0.1")
    assert plan.distortion_pattern("flat") == "(?!)"
