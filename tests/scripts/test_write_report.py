"""write_report on the files of a small night."""

import io
import json

import pytest
from click.testing import CliRunner
from PIL import Image

from write_report import main

STEM = "2024B-P123-008_Liger_IMG_DARK_LVL1_0001-00"
MASTER = "liger_img_dark_20240924t050000_0.0.1"
ROW = {
    "file": "a.fits", "status": "accepted", "reason": "", "notes": ["odd <name>"], "kind": "dark", "exp": "0001-00",
    "id": "2024B-P123-008_Liger_IMG_DARK_0001-00", "obs": "2024B-P123-008_Liger_IMG_DARK", "corrections": [],
    "keys": {
        "INSTRUME": "Liger", "DETECTOR": "IMG", "NIGHT": "20240923", "EXPDTST": "2024-09-24T05:00:00.000",
        "OBJECT": "a & b", "FILTER": "NONE", "EXPTIME": None, "RA": None, "DEC": None, "PA": None,
    },
}  # fmt: skip
REFERENCE = {
    "file": "liger_img_dq_20240101t000000_0.0.1.fits", "rmap": "x.rmap", "selector": "UseAfter", "sha1": "ab",
    "useafter": "2024-01-01", "source": "context", "status": "found", "reason": "",
}  # fmt: skip


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))


@pytest.fixture
def night(tmp_path):
    members = {"members": [ROW["id"]], "keys": {"DETECTOR": "IMG"}}
    document = {"rows": [ROW], "masters": {MASTER: members}, "skies": {}, "sky": {}, "groups": {}, "too_few": []}
    write(tmp_path / "plan/night.json", document | {"level1_only": {}})
    write(tmp_path / "plan/context.json", {"context": "ligeriri_0001.pmap", "sha1": "cd", "source": "config"})
    manifest = {"exposure": ROW["id"], "status": "resolved", "reason": "", "crds_version": "14", "keys": {}}
    manifest |= {"context": {"name": "ligeriri_0001.pmap", "sha1": "cd"}, "references": {"dq": REFERENCE}}
    write(tmp_path / f"references/{ROW['id']}.json", manifest)
    write(tmp_path / "references/detector.json", {"exposures": {}})
    refused = {"product": f"{MASTER}.fits", "refused": "too few <darks>", "measured": None, "unit": None, "steps": {}}
    write(tmp_path / f"quality/calibrations/{MASTER}.json", {**refused, "history": [], "n_combined": None})
    stream = io.BytesIO()
    Image.new("L", (30, 20)).save(stream, "PNG")
    picture = tmp_path / f"quicklook/calibrations/{MASTER}.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(stream.getvalue())
    header = "s\th:m:s\tmax_rss\tmax_vms"
    write(tmp_path / "benchmarks/fit_ramp/a.tsv", f"{header}\n2.0\t0:00:02\t100.0\t1\n4.0\t0:00:04\t-\t1\n")
    write(tmp_path / "benchmarks/fit_ramp/cut.tsv", f"{header}\n3.")
    write(tmp_path / "logs/fit_ramp/level1/a.log", "INFO a: b\nWARNING fit_ramp: /x/y.fits is odd\nnot WARNING\n")
    write(tmp_path / "logs/fit_ramp/a.fits", "WARNING no log\n")
    return tmp_path


def run(night, *, quality="quality", preview="quicklook", plan="plan/plan.json"):
    options = {
        "night": "plan/night.json", "plan": plan, "context": "plan/context.json", "manifests": "references",
        "quality": quality, "preview": preview, "benchmarks": "benchmarks", "logs": "logs", "output": "report.html",
    }  # fmt: skip
    arguments = [part for name, path in options.items() for part in (f"--{name}", str(night / path))]
    return CliRunner().invoke(main, arguments), night / "report.html"


def test_report_of_a_small_night(night):
    result, output = run(night)
    assert result.exit_code == 0, result.output
    page = output.read_text().replace("<wbr>", "")
    for text in (
        "Liger IMG, night 2024-09-23",
        "1 product refused",
        "too few &lt;darks&gt;",
        "odd &lt;name&gt;",
        "a &amp; b",
        "data:image/jpeg;base64,",
        "6.0 s",
        "100 MB",
        "fit_ramp: y.fits is odd",
        "fit_ramp/level1/a.log",
    ):
        assert text in page
    assert "no log" not in page
    assert str(night) not in page
    assert "x.rmap" in page


def test_files_or_their_folder_give_the_same_bytes(night):
    by_folder = run(night)[1].read_bytes()
    quality, preview = f"quality/calibrations/{MASTER}.json", f"quicklook/calibrations/{MASTER}.png"
    result, output = run(night, quality=quality, preview=preview)
    assert result.exit_code == 0, result.output
    assert output.read_bytes() == by_folder


def test_the_record_of_the_run_is_shown(night):
    versions = {"python": "3.11.9", "machine": "Linux x86_64", "packages": {"numpy": "2.4.6", "other": "1"}}
    record = {"versions": versions, "code": {"commit": None, "sha256": "ab" * 32}, "config": {"strict": True}}
    record |= {"inputs": {"raw/a.fits": "1"}, "references": {}, "products": {"x": "2", "y": "3"}}
    write(night / "run.json", record)
    arguments = ["--night", "plan/night.json", "--plan", "plan/plan.json", "--context", "plan/context.json"]
    arguments += ["--record", "run.json", "--manifests", "references", "--benchmarks", "b", "--logs", "l"]
    places = [str(night / word) if not word.startswith("--") else word for word in arguments]
    result = CliRunner().invoke(main, [*places, "--output", str(night / "report.html")])
    assert result.exit_code == 0, result.output
    page = (night / "report.html").read_text()
    for text in ("Python 3.11.9, numpy 2.4.6; Linux", "sha256 of 1 inputs, 0 references and 2 products"):
        assert text in page
    assert "<code>strict</code> True." in page


def test_plan_logs_and_benchmarks_may_be_absent(night):
    for folder in ("logs", "benchmarks"):
        (night / folder).rename(night / f"no_{folder}")
    result, output = run(night)
    assert result.exit_code == 0, result.output
    assert "No benchmarks." in output.read_text()


def test_products_of_the_plan_are_shown(night):
    products = [f"level1/{STEM}.fits", "level2/extra.fits"]
    write(night / "plan/plan.json", {"exposures": {ROW["id"]: {"references": {}, "products": products}}})
    result, output = run(night)
    assert result.exit_code == 0, result.output
    assert "no Level 2 product" in output.read_text()


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("plan/night.json", {"rows": []}, "lacks masters, skies"),
        (f"quality/calibrations/{MASTER}.json", "{", "cannot be read as JSON"),
        (f"quicklook/calibrations/{MASTER}.png", "no picture", "is no picture"),
    ],
)
def test_bad_inputs_are_refused(night, path, content, message):
    write(night / path, content)
    result, output = run(night)
    assert result.exit_code == 1
    assert message in result.output
    assert not output.exists()
