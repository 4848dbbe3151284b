"""A finished night against what it says about itself: clean as it was made, every kind of damage named."""

import json
import shutil

import pytest
from astropy.io import fits
from finished_night import MASTER, OBS

from drs.errors import ReductionError
from drs.files import write_json
from drs.references import reference_path
from drs.verification import verify

RATE = f"level1/{OBS}_LVL1_0001-00.fits"
MANIFEST = f"references/{OBS}_0001-00.json"
PART = f"references/level1/{OBS}_0001-00.json"


@pytest.fixture
def night(finished, tmp_path):
    """Return a copy of the finished night."""
    return shutil.copytree(finished, tmp_path / "night")


def find(night):
    """Return the deviations of a night as lines."""
    return [str(deviation) for deviation in verify(night, night / "crds_cache")[0]]


def test_a_night_as_it_was_made_is_clean(finished):
    deviations, n_files = verify(finished, finished / "crds_cache")
    assert deviations == []
    assert n_files == 9  # two raw files, two rates, a master dark, two manifests and their parts


def flip(path, position):
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)


def flip_data(night):
    with fits.open(night / RATE) as hdus:
        position = hdus["ERR"].fileinfo()["datLoc"]
    flip(night / RATE, position)


def flip_padding(night):
    flip(night / RATE, -1)


def edit_header(night):
    (night / RATE).write_bytes((night / RATE).read_bytes().replace(b"'M 15", b"'M 16", 1))


def edit_header_with_checksum(night):
    with fits.open(night / RATE, mode="update", checksum=True) as hdus:
        hdus[0].header["R_GAIN"] = "mine.fits"


def break_schema(night):
    with fits.open(night / RATE, mode="update", checksum=True) as hdus:
        del hdus["ERR"]


def cut_at_extension(night):
    content = (night / RATE).read_bytes()
    (night / RATE).write_bytes(content[: content.rindex(b"XTENSION")])


def change_input(night):
    flip(night / "raw/1.fits", -2000)


def lose_input(night):
    (night / "raw/1.fits").unlink()


def add_input(night):
    shutil.copy(night / "raw/1.fits", night / "raw/3.fits")


def lose_product(night):
    (night / RATE).unlink()


def lose_plan(night):
    (night / "plan/plan.txt").unlink()


def lose_quality(night):
    (night / f"quality/calibrations/{MASTER}.json").unlink()


def lose_outcome(night):
    (night / "quality/outcome.txt").unlink()


def replace_reference(night):
    path = min(reference_path(night / "crds_cache", "iris", "").glob("iris_img1_gain_*.fits"))
    shutil.copy(path.with_name(path.name.replace("gain", "readnoise")), path)


def lose_reference(night):
    min(reference_path(night / "crds_cache", "iris", "").glob("iris_img1_gain_*.fits")).unlink()


def replace_delivered(night):
    flip(reference_path(night / "references/crds", "iris", f"{MASTER}.fits"), -1)


def edit_rules(night):
    path = night / "crds_cache/mappings/ligeriri/ligeriri_iris_gain_0001.rmap"
    path.write_text(path.read_text().replace("2024-01-01", "2025-01-01"))


def edit_context(night):
    flip(night / "crds_cache/mappings/ligeriri/ligeriri_0001.pmap", 5)


def edit_manifest(night):
    document = json.loads((night / MANIFEST).read_text())
    write_json(night / MANIFEST, document | {"crds_version": "15"})


def edit_part(night):
    document = json.loads((night / PART).read_text())
    document["references"]["gain"]["sha1"] = "0"
    write_json(night / PART, document)


def cut_manifest(night):
    (night / MANIFEST).write_text("{")


def leave_temporary(night):
    (night / "level1/.a.fits.123.part").write_bytes(b"half")


def leave_old_product(night):
    shutil.copy(night / RATE, night / "level1/old.fits")


DAMAGES = {
    flip_data: [f"{RATE}: damaged: expected the bytes that were written, found DATASUM of ERR is "],
    flip_padding: [f"{RATE}: damaged: expected the bytes that were written, found DATASUM of PROVENANCE is "],
    edit_header: [f"{RATE}: damaged: ", "found the header of PRIMARY does not agree with its CHECKSUM"],
    edit_header_with_checksum: [f"{RATE}: R_GAIN: expected iris_img1_gain_", "found mine.fits", f"{RATE}: not as run"],
    break_schema: [f"{RATE}: not valid: ", "'ERR' is a required property"],
    cut_at_extension: [f"{RATE}: not valid: expected a product that fits its schema, found ", "PROVENANCE cannot be"],
    change_input: [f"{RATE}: input ramp 1.fits: expected sha256 ", "raw/1.fits: not as run.json has it: expected"],
    lose_input: ["raw/1.fits: missing: ", f"{RATE}: input ramp 1.fits", "found no file of this name; restore it"],
    add_input: ["raw/3.fits: new: expected a file of the plan, found another; give the night's command again"],
    lose_product: [f"{RATE}: missing: expected a file of the plan, found none; give the night's command again"],
    lose_plan: ["plan/plan.txt: missing"],
    lose_quality: [f"quality/calibrations/{MASTER}.json: missing"],
    lose_outcome: ["quality/outcome.txt: missing: expected the word that all is well", "report.html has the reasons"],
    replace_reference: [f"{MANIFEST}: gain reference iris_img1_gain_", "expected sha1 ", f"{RATE}: input gain"],
    lose_reference: [f"{MANIFEST}: gain reference iris_img1_gain_", "found no such file", "fill the cache"],
    replace_delivered: [f"references/contexts/detector.json: delivered {MASTER}.fits: expected sha1 "],
    edit_rules: ["plan/context.json: rule file ligeriri_iris_gain_0001.rmap: expected its own checksum, found another"],
    edit_context: ["plan/context.json: context ligeriri_0001.pmap: expected sha1 "],
    edit_manifest: [f"{MANIFEST}: edited: expected sha1 "],
    edit_part: [f"{PART}: edited: expected the answer of its manifest, found another one"],
    cut_manifest: [f"{MANIFEST}: damaged: expected a manifest, found ", "cannot be read as JSON"],
    leave_temporary: ["level1/.a.fits.123.part: temporary: expected no such file, found one; remove it"],
    leave_old_product: ["level1/old.fits: not in the plan: expected no such file, found one of an earlier run"],
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_named(night, damage):
    damage(night)
    lines = find(night)
    text = "\n".join(lines)
    for expected in DAMAGES[damage]:
        assert expected in text
    assert all("; " in line and ": expected " in line for line in lines)


def test_many_damages_are_all_named(night):
    damages = (change_input, leave_temporary, edit_part, lose_outcome, replace_delivered, edit_header)
    for damage in damages:
        damage(night)
    text = "\n".join(find(night))
    assert all(expected in text for damage in damages for expected in DAMAGES[damage])


def test_the_other_products_stay_clean(night):
    flip_data(night)
    assert not any("_0002-00" in line for line in find(night))


def test_a_folder_that_is_no_night_is_refused(tmp_path):
    with pytest.raises(ReductionError, match=r"lacks plan/night.json, .*: it is no night, or was never reduced"):
        verify(tmp_path, tmp_path)
