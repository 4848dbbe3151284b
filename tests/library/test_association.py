"""Associations of a night: known answers, minimum numbers, time rules, and independence of the order of files."""

import random

from hypothesis import given
from hypothesis import strategies as st
from nights import INSTRUMENTS, RULES, ifs_scan, scan

from drs.association import associate
from drs.night import build_rows


def plan_of(scans):
    """Return the plan of scans by file name."""
    return associate(build_rows(scans, INSTRUMENTS, RULES, {}), RULES)


def at(hour, minute=0):
    """Return a time of the night."""
    return f"2024-09-25T{hour:02d}:{minute:02d}:00.000"


def make_night(n_dark=5, n_sky=3, sky_hour=6, **science):
    """Return scans of darks, skies and five science exposures at 06:00."""
    scans = {f"d{k}": scan("DARK", k, start=at(1, k), FILTER="OPAQUE") for k in range(n_dark)}
    scans |= {f"k{k}": scan("SKY", 50 + k, start=at(sky_hour, 30 + k)) for k in range(n_sky)}
    return scans | {f"s{k}": scan("SCI", 20 + k, start=at(6, k), **science) for k in range(5)}


def test_masters_are_made_from_all_darks_of_a_configuration():
    plan = plan_of(make_night())
    ((name, dark),) = plan["masters"].items()
    assert name == "iris_img1_dark_20240925t010000_0.0.1"
    assert len(dark["members"]) == 5
    assert (dark["stage"], dark["useafter"]) == ("detector", "2024-09-25T10:00:00")
    assert len(plan["stages"]["detector"]) == 5
    assert len(plan["stages"]["science"]) == 8


def test_too_few_darks_make_no_master_and_are_noted():
    plan = plan_of(make_night(n_dark=4))
    assert plan["masters"] == {}
    (entry,) = plan["too_few"]
    assert entry["reason"] == "4 exposures, at least 5 needed"
    assert len(entry["members"]) == 4


def test_darks_of_another_read_mode_or_detector_size_do_not_mix():
    for other in ({"READMODE": "FAST"}, {"DETXSIZE": 32}, {"DETECTOR": "IMG2"}):
        scans = make_night() | {"x": scan("DARK", 9, start=at(1, 9), FILTER="OPAQUE", **other)}
        (dark,) = plan_of(scans)["masters"].values()
        assert len(dark["members"]) == 5, other


def test_sets_that_start_together_keep_names_of_their_own():
    scans = make_night() | {f"x{k}": scan("DARK", 30 + k, start=at(1, k), READMODE="FAST") for k in range(5)}
    scans |= {f"y{k}": scan("SKY", 60 + k, start=at(6, 30 + k), PUPIL="WIDE") for k in range(3)}
    plan = plan_of(scans)
    assert sorted(len(entry["members"]) for entry in plan["masters"].values()) == [5, 5]
    assert sorted(len(entry["members"]) for entry in plan["skies"].values()) == [3, 3]
    assert len({*plan["masters"], *plan["skies"]}) == 4


def test_darks_of_subarrays_make_no_master_and_say_why():
    window = {"SUBARRAY": "CUSTOM", "SUBARRID": 1}
    scans = make_night() | {f"x{k}": scan("DARK", k, start=at(1, k), **window) for k in range(5)}
    plan = plan_of(scans)
    (dark,) = plan["masters"].values()
    assert all(identity.endswith("-00") for identity in dark["members"])
    (entry,) = plan["too_few"]
    assert "subarray" in entry["reason"]
    assert len(entry["members"]) == 5


def test_the_nearest_sky_is_chosen_and_the_others_say_why_not():
    scans = make_night() | {f"f{k}": scan("SKY", 80 + k, start=at(8, k)) for k in range(3)}
    scans |= {f"g{k}": scan("SKY", 90 + k, start=at(6, 40 + k), FILTER="H") for k in range(3)}
    plan = plan_of(scans)
    choice = plan["sky"]["2024B-P123-008_IRIS_IMG1_SCI_0020-00"]
    assert choice["choice"] == "iris_img1_sky_20240925t063000_0.0.1"
    reasons = {entry["name"]: entry["reason"] for entry in choice["rejected"]}
    assert reasons["iris_img1_sky_20240925t064000_0.0.1"] == "other FILTER"
    assert reasons["iris_img1_sky_20240925t080000_0.0.1"].endswith("h away, at most 1.0 h")


def test_a_late_or_too_short_sky_gives_the_median_of_the_image():
    for scans in (make_night(sky_hour=9), make_night(n_sky=2)):
        choices = plan_of(scans)["sky"].values()
        assert {choice["choice"] for choice in choices} == {None}


def test_groups_hold_one_target_and_one_position_angle():
    scans = make_night()
    scans |= {f"r{k}": scan("SCI", 40 + k, start=at(7, k), PA=37.0) for k in range(2)}
    scans |= {"o": scan("SCI", 60, start=at(7, 30), OBJECT="NGC 1068; $(x)")}
    groups = plan_of(scans)["groups"]
    members = {name: len(group["members"]) for name, group in groups.items()}
    assert members == {
        "2024B-P123_IRIS_IMG1_M-15_Y_20240924_pa0.0": 5,
        "2024B-P123_IRIS_IMG1_M-15_Y_20240924_pa37.0": 2,
        "2024B-P123_IRIS_IMG1_NGC-1068-x_Y_20240924": 1,
    }


def test_position_angles_join_across_north():
    scans = {"a": scan("SCI", 1, PA=359.9), "b": scan("SCI", 2, PA=0.1, start=at(6, 5))}
    (group,) = plan_of(scans)["groups"].values()
    assert len(group["members"]) == 2


def test_targets_whose_names_look_alike_stay_apart():
    scans = {"a": scan("SCI", 1, OBJECT="M 15"), "b": scan("SCI", 2, OBJECT="M;15", start=at(6, 5))}
    groups = plan_of(scans)["groups"]
    assert len(groups) == 2
    assert all(len(group["members"]) == 1 for group in groups.values())


def make_ifs_night(mode):
    """Return scans of a night of one mode of the spectrograph: every kind of exposure, five of each."""
    kinds = ("DARK", "FLAT", "SCI", "SKY", "ARC", "SCAN", "FIBRE", "PINHOLE", "TELLURIC", "FLUX", "PSF", "BIAS")
    return {
        f"{kind}{k}": ifs_scan(kind, 10 * number + k, start=at(3, 5 * number + k), INSTMODE=mode)
        for number, kind in enumerate(kinds)
        for k in range(5)
    }


def test_lenslets_get_matrices_and_cubes_with_the_nearest_sky():
    scans = {f"s{k}": ifs_scan("SCAN", k, start=at(1, k), INSTMODE="LENSLET", GRATING="4000-H") for k in range(16)}
    scans |= {f"o{k}": ifs_scan("SCAN", 20 + k, start=at(2, k), INSTMODE="LENSLET") for k in range(15)}  # no GRATING
    scans |= {
        f"{imtype}{k}": ifs_scan(imtype, 40 + k, start=at(6, k), INSTMODE="LENSLET", GRATING=grating)
        for k, (imtype, grating) in enumerate(
            (("SCI", "4000-H"), ("SKY", "8000-H"), ("SKY", "4000-H"), ("SCI", "4000-J"))
        )
    }
    plan = plan_of(scans)
    (matrix,) = plan["masters"].values()
    assert (matrix["type"], matrix["stage"], len(matrix["members"])) == ("rectmat", "optics", 16)
    assert matrix["useafter"] == "2024-09-24T22:00:00"  # noon: CRDS takes the latest before an exposure
    first, second = plan["sky"].values()
    assert first["choice"] == "2024B-P123-008_IRIS_IFS_SKY_0042-00"
    assert first["rejected"] == [{"name": "2024B-P123-008_IRIS_IFS_SKY_0041-00", "reason": "other GRATING"}]
    assert (second["choice"], second["reason"][:21]) == (None, "no fitting sky exposu")
    assert plan["skies"] == {}
    groups = [(entry["cubes"], entry["keys"]["GRATING"], entry["members"][0][-7:]) for entry in plan["groups"].values()]
    assert groups == [(True, "4000-H", "0040-00"), (True, "4000-J", "0043-00")]
    reasons = [(entry["type"], entry["reason"]) for entry in plan["too_few"]]
    assert reasons == [("rectmat", "15 exposures, at least 16 needed")]


def test_telluric_stars_of_lenslets_make_a_reference_before_the_science():
    optics = {"INSTMODE": "LENSLET", "GRATING": "4000-H"}
    scans = {f"t{k}": ifs_scan("TELLURIC", 10 + k, start=at(5, k), **optics) for k in range(2)}
    scans |= {"s": ifs_scan("SCI", 40, start=at(6), **optics), "i": scan("TELLURIC", 1, start=at(5))}
    plan = plan_of(scans)
    ((name, entry),) = plan["masters"].items()
    assert (name, entry["type"], entry["stage"], len(entry["members"])) == (
        "iris_ifs_telluric_20240925t050000_0.0.1", "telluric", "sky", 2
    )  # fmt: skip
    assert plan["order"] == ["detector", "optics", "sky", "science"]
    assert plan["stages"]["sky"] == entry["members"]
    assert "telluric" in plan["needs"]["2024B-P123-008_IRIS_IFS_SCI_0040-00"]
    assert [*plan["level1_only"]] == ["2024B-P123-008_IRIS_IMG1_TELLURIC_0001-00"]


def test_slicers_get_traces_wavelengths_and_cubes_and_the_plan_says_what_gets_level_1_only():
    plan = plan_of(make_ifs_night("SLICER"))
    made = {entry["type"]: (entry["stage"], len(entry["members"])) for entry in plan["masters"].values()}
    optics = {"dark": ("detector", 5), "trace": ("optics", 5), "wavesol": ("wavelengths", 5)}
    assert made == optics | {"telluric": ("sky", 5), "fibre": ("sky", 5), "flux": ("flux", 5)}
    useafter = {entry["type"]: entry["useafter"] for entry in plan["masters"].values()}
    assert useafter["wavesol"] == "2024-09-24T22:00:00"  # noon: CRDS takes the latest before an exposure
    assert useafter["trace"] == "2024-09-25T10:00:00"
    assert plan["skies"] == {}
    ((group, entry),) = plan["groups"].items()
    assert (group, len(entry["members"]), entry["cubes"]) == ("2024B-P123_IRIS_IFS_M-15_Y_20240924", 5, True)
    assert {entry["choice"] for entry in plan["sky"].values()} == {"2024B-P123-008_IRIS_IFS_SKY_0030-00"}
    assert plan["too_few"] == []
    assert {stage: len(members) for stage, members in plan["stages"].items()} == {
        "detector": 25,
        "optics": 5,
        "wavelengths": 5,
        "sky": 10,
        "flux": 5,
        "science": 10,
    }
    of_slices = [*RULES["level1"], "dark", "trace", "wavesol"]
    more = {"SCI_0020": ["telluric", "flux", "fibre"], "FLUX_0090": ["telluric"]}
    for kind in ("FIBRE_0060", "FLAT_0010", "ARC_0040", "SCI_0020", "SKY_0030", "TELLURIC_0080", "FLUX_0090"):
        assert plan["needs"][f"2024B-P123-008_IRIS_IFS_{kind}-00"] == of_slices + more.get(kind, [])
    reasons = plan["level1_only"]
    assert len(reasons) == 20
    assert "2024B-P123-008_IRIS_IFS_FIBRE_0060-00" not in reasons


def test_arcs_of_lenslets_are_reduced_with_the_nights_matrix():
    optics = {"INSTMODE": "LENSLET", "GRATING": "4000-H"}
    scans = {f"s{k}": ifs_scan("SCAN", k, start=at(1, k), **optics) for k in range(16)}
    plan = plan_of(scans | {"a": ifs_scan("ARC", 20, start=at(2), **optics)})
    made = {entry["type"]: entry["stage"] for entry in plan["masters"].values()}
    assert made == {"rectmat": "optics", "wavesol": "wavelengths"}
    assert plan["needs"]["2024B-P123-008_IRIS_IFS_ARC_0020-00"][-3:] == ["dark", "rectmat", "wavesol"]
    assert plan["order"].index("optics") < plan["order"].index("wavelengths") < plan["order"].index("science")


def test_darks_of_both_modes_of_a_detector_are_one_master():
    scans = {f"d{k}": ifs_scan("DARK", k, start=at(1, k), INSTMODE=("LENSLET", "SLICER")[k % 2]) for k in range(6)}
    (dark,) = plan_of(scans)["masters"].values()
    assert len(dark["members"]) == 6


def test_needs_are_those_of_the_recipe():
    plan = plan_of(make_night() | {"t": scan("TELLURIC", 90, start=at(7)), "i": ifs_scan("PSF", 91, start=at(7, 1))})
    needs = {identity.split("_", 1)[1]: found[len(RULES["level1"]) :] for identity, found in plan["needs"].items()}
    assert needs["IRIS_IMG1_SKY_0050-00"] == ["dark", "flat", "distortion", "flux"]
    assert needs["IRIS_IMG1_SCI_0020-00"] == [*needs["IRIS_IMG1_SKY_0050-00"], "psf"]
    assert needs["IRIS_IMG1_DARK_0000-00"] == needs["IRIS_IMG1_TELLURIC_0090-00"] == needs["IRIS_IFS_PSF_0091-00"] == []
    only = "imager: Level 1 only, no recipe for telluric exposures yet"
    assert plan["level1_only"]["2024B-P123-008_IRIS_IMG1_TELLURIC_0090-00"] == only
    assert len(plan["level1_only"]) == 2


def test_a_night_of_calibrations_only_has_a_plan():
    scans = {name: entry for name, entry in make_night().items() if name.startswith("d")}
    plan = plan_of(scans)
    assert (len(plan["masters"]), plan["groups"], plan["sky"]) == (1, {}, {})


minutes = st.integers(0, 59)
exposure = st.tuples(
    st.sampled_from(["SCI", "SKY", "DARK", "FLAT", "ARC"]),
    minutes,
    st.sampled_from(["Y", "H"]),
    st.sampled_from([("IMG1", "IMG"), ("IMG2", "IMG"), ("IFS", "LENSLET"), ("IFS", "SLICER")]),
)


@given(st.lists(exposure, max_size=25), st.randoms(use_true_random=False))
def test_the_plan_does_not_depend_on_the_order_of_files_and_uses_each_exposure_once(exposures, rng: random.Random):
    scans = {
        f"e{k}": scan(imtype, k, start=at(6, minute), FILTER=band, DETECTOR=detector, INSTMODE=mode)
        for k, (imtype, minute, band, (detector, mode)) in enumerate(exposures)
    }
    shuffled = list(scans.items())
    rng.shuffle(shuffled)
    plan = plan_of(scans)
    assert plan_of(dict(shuffled)) == plan
    for section, kinds in (("groups", {"SCI"}), ("masters", {"DARK", "FLAT", "ARC"}), ("skies", {"SKY"})):
        once = [entry for entry in plan[section].values() if not entry.get("mosaic")]  # a mosaic joins other groups
        members = [identity for entry in once for identity in entry["members"]]
        assert len(members) == len(set(members))
        assert {identity.split("_")[3] for identity in members} <= kinds
    assert sorted(plan["sky"]) == sorted(i for i in plan["stages"]["science"] if "_SCI_" in i)
    staged = [identity for members in plan["stages"].values() for identity in members]
    assert sorted(staged) == sorted(plan["needs"])
    assert len(staged) == len(exposures)
    used = [i for part in ("groups", "skies") for entry in plan[part].values() for i in entry["members"]]
    assert not plan["level1_only"].keys() & {*plan["sky"], *used}


def make_flats(imtype, first, hour, n=5, **changes):
    """Return scans of flats."""
    return {f"{imtype}{k}": scan(imtype, first + k, start=at(hour, k), **changes) for k in range(n)}


def test_flats_take_the_exposures_with_the_lamp_off_of_their_filter():
    scans = make_flats("FLAT", 10, 2) | make_flats("FLATOFF", 30, 3)
    scans |= {f"h{k}": scan("FLATOFF", 60 + k, start=at(4, 30 + k), FILTER="H") for k in range(2)}
    ((name, flat),) = plan_of(scans)["masters"].items()
    assert name == "iris_img1_flat_20240925t020000_0.0.1"
    assert [identity.rpartition("_")[2] for identity in flat["minus"]] == [f"00{30 + k}-00" for k in range(5)]


def test_twilight_flats_serve_where_there_is_no_lamp():
    plan = plan_of(make_flats("TWIFLAT", 10, 1) | make_flats("FLAT", 30, 2))
    (flat,) = plan["masters"].values()
    assert flat["keys"]["IMTYPE"] == "FLAT"
    (left_out,) = plan["too_few"]
    assert "is made of the lamp" in left_out["reason"]
    (flat,) = plan_of(make_flats("TWIFLAT", 10, 1))["masters"].values()
    assert flat["keys"]["IMTYPE"] == "TWIFLAT"


def test_pinholes_and_standard_stars_have_stages_and_hold_for_their_night():
    scans = make_night() | {"p": scan("PINHOLE", 70, start=at(2)), "x": scan("FLUX", 71, start=at(5))}
    plan = plan_of(scans)
    assert plan["order"] == ["detector", "optics", "flux", "science"]
    made = {entry["type"]: entry for entry in plan["masters"].values()}
    assert (made["distortion"]["useafter"], made["distortion"]["stage"]) == ("2024-09-24T22:00:00", "optics")
    assert (made["flux"]["useafter"], made["flux"]["stage"]) == ("2024-09-25T10:00:00", "flux")
    assert {key: made["flux"]["keys"][key] for key in ("INSTMODE", "GRATING", "SCALE")} == {
        "INSTMODE": "IMG",
        "GRATING": "MIRROR",
        "SCALE": 0.004,
    }


def test_stars_make_a_psf_for_the_science_of_their_configuration():
    scans = make_night() | {f"p{k}": scan("PSF", 70 + k, start=at(5, k)) for k in range(2)}
    plan = plan_of(scans | {"h": scan("PSF", 75, start=at(5, 9), FILTER="H")})
    made = [entry for entry in plan["masters"].values() if entry["type"] == "psf"]
    assert [(entry["keys"]["FILTER"], len(entry["members"]), entry["stage"]) for entry in made] == [
        ("Y", 2, "flux"),
        ("H", 1, "flux"),
    ]
    assert plan["order"] == ["detector", "optics", "flux", "science"]


def test_a_star_field_gives_the_distortion_where_there_is_no_mask():
    fields = {f"a{k}": scan("ASTROM", 80 + k, start=at(5, k)) for k in range(3)}
    (entry,) = [e for e in plan_of(make_night() | fields)["masters"].values() if e["type"] == "distortion"]
    assert (len(entry["members"]), entry["minimum"], entry["stage"]) == (3, 3, "optics")
    assert entry["useafter"] == "2024-09-24T22:00:00"
    plan = plan_of(make_night() | fields | {"p": scan("PINHOLE", 70, start=at(2))})
    (name,) = [name for name, e in plan["masters"].items() if e["type"] == "distortion"]
    assert plan["masters"][name]["members"][0].endswith("PINHOLE_0070-00")
    (left_out,) = [entry["reason"] for entry in plan["too_few"] if entry["type"] == "distortion"]
    assert left_out == f"{name} is made of the lamp: star-field exposures through the sky are not needed"


def make_detector_night(n_dark=5, n_transfer=4):
    """Return scans of bias frames, saturated flats, flats for photon transfer, and darks."""
    scans = {f"b{k}": scan("BIAS", k, start=at(1, k), FILTER="OPAQUE") for k in range(5)}
    scans |= {f"s{k}": scan("SATFLAT", k, start=at(2, k)) for k in range(3)}
    scans |= {f"p{k}": scan("PTC", k, start=at(3, k)) for k in range(n_transfer)}
    return scans | {f"d{k}": scan("DARK", k, start=at(4, k), FILTER="OPAQUE") for k in range(n_dark)}


def test_the_detector_is_calibrated_in_stages_of_its_own():
    plan = plan_of(make_detector_night())
    assert plan["order"] == ["bias", "linearity", "transfer", "detector", "optics", "science"]
    made = {entry["type"]: (name, entry) for name, entry in plan["masters"].items()}
    stages = {"bias": "bias", "saturation": "linearity", "nonlin": "linearity", "gain": "transfer"}
    stages |= {"readnoise": "transfer", "dq": "detector", "dark": "detector"}
    assert {kind: entry["stage"] for kind, (_, entry) in made.items()} == stages
    assert made["nonlin"][1]["uses"] == made["saturation"][0]
    assert made["readnoise"][1]["uses"] == made["gain"][0]
    assert [i.split("_")[3] for i in made["gain"][1]["further"]] == ["DARK"] * 5
    assert [i.split("_")[3] for i in made["dq"][1]["further"]] == ["PTC"] * 4
    # UseAfter: from the noon before on; ClosestTime: about the middle of the night
    assert made["gain"][1]["useafter"] == "2024-09-24T22:00:00"
    assert made["nonlin"][1]["useafter"] == "2024-09-25T10:00:00"


def test_too_few_partners_are_noted_where_the_night_has_some():
    plan = plan_of(make_detector_night(n_dark=2))
    reasons = {entry["type"]: entry["reason"] for entry in plan["too_few"]}
    assert reasons["gain"] == "2 dark exposures, at least 3 needed"
    assert "at least 5 needed" in reasons["readnoise"]
    assert {"gain", "readnoise", "dq"}.isdisjoint(entry["type"] for entry in plan["masters"].values())
    plan = plan_of(make_detector_night(n_transfer=0))
    assert plan["order"] == ["bias", "linearity", "detector", "optics", "science"]
    assert plan["too_few"] == []


def test_detectors_of_one_field_and_subarrays_become_mosaics():
    window = {"SUBARRAY": "CUSTOM", "SUBARRID": 1}
    scans = {"a": scan("SCI", 1), "b": scan("SCI", 2, DETECTOR="IMG2"), "c": scan("SCI", 3, OBJECT="M 2")}
    groups = plan_of(scans | {"d": scan("SCI", 4, OBJECT="M 2", **window)})["groups"]
    mosaics = {name: len(entry["members"]) for name, entry in groups.items() if entry.get("mosaic")}
    assert mosaics == {
        "2024B-P123_IRIS_MOSAIC_M-15_Y_20240924_merged": 2,
        "2024B-P123_IRIS_IMG1_M-2_Y_20240924_merged": 2,
    }
    assert len(groups) == 6
