"""Write the night report: one HTML page that opens offline, from the plan, the references, quality, previews and logs.

Products that the plan does not name (leftovers of an earlier run) are not shown.
"""

import csv
from pathlib import Path

import click
from PIL import UnidentifiedImageError

from drs import cli, product
from drs.errors import ReductionError
from drs.files import write_atomically
from drs.preview import make_thumbnail
from drs.record import summarize_record
from drs.references import read_json
from drs.report import build_report, render_report
from drs.schema import load_yaml

# Longest side of a picture in the page by the number of pictures of its kind, so that a large night stays readable.
THUMBNAIL_PIX = ((12, 640), (60, 320), (250, 200))
SMALLEST_PIX = 120
NIGHT = ("rows", "masters", "skies", "sky", "groups", "too_few", "level1_only")

file_or_folder = click.Path(exists=True, path_type=Path)


@cli.command()
@click.option("--night", type=cli.existing_file, required=True, help="plan/night.json.")
@click.option("--plan", type=Path, required=True, help="plan/plan.json; may be absent.")
@click.option("--context", type=cli.existing_file, required=True, help="plan/context.json.")
@click.option("--record", type=cli.existing_file, help="run.json.")
@click.option("--manifests", type=cli.existing_folder, required=True, help="Folder of the references' manifests.")
@click.option("--quality", type=file_or_folder, multiple=True, help="JSON or folder of them, <level>/<product>.json.")
@click.option("--preview", type=file_or_folder, multiple=True, help="PNG or folder of them, <level>/<product>.png.")
@click.option("--benchmarks", type=Path, required=True, help="Folder <rule>/*.tsv; may be absent.")
@click.option("--logs", type=Path, required=True, help="Folder <rule>/**.log; may be absent.")
@cli.output_option
def main(night, plan, context, record, manifests, output, **folders):
    """Write the report of a night."""
    report = build_report(
        read_night(night),
        plan=read_json(plan) if plan.exists() else {},
        context=read_json(context),
        manifests=read_manifests(manifests),
        quality={key: read_json(path) for key, path in find_products(folders["quality"], ".json").items()},
        pictures=read_pictures(find_products(folders["preview"], ".png")),
        benchmarks=read_benchmarks(folders["benchmarks"]),
        warnings=read_warnings(folders["logs"]),
    )
    run = summarize_record(read_json(record) if record else {}, load_yaml(cli.CONFIG / "config.yaml"))
    page = render_report({**report, "run": run, "version": product.VERSION}).encode()
    write_atomically(output, lambda stream: stream.write(page))


def read_night(path):
    """Return the night's table and plan."""
    night = read_json(path)
    if absent := [key for key in NIGHT if key not in night]:
        raise ReductionError(f"{path} lacks {', '.join(absent)}: it is no plan of a night; list the exposures again")
    return night


def read_manifests(folder):
    """Return exposure -> manifest; the indexes of the stages in the same folder name no references."""
    documents = [read_json(path) for path in sorted(folder.glob("*.json"))]
    return {document["exposure"]: document for document in documents if "references" in document}


def find_products(paths, suffix):
    """Return (folder, stem) -> path of the files that are given or lie in the folders that are given."""
    files = [path for path in paths if path.is_file()]
    files += [file for path in paths if path.is_dir() for file in path.glob(f"*/*{suffix}")]
    return {(file.parent.name, file.name.removesuffix(suffix)): file for file in sorted(files)}


def read_pictures(paths):
    """Return (folder, stem) -> (MIME type, bytes), small where there are many."""
    pictures = {}
    for (folder, stem), path in paths.items():
        number = sum(other == folder for other, _ in paths)
        size = next((pix for limit, pix in THUMBNAIL_PIX if number <= limit), SMALLEST_PIX)
        try:
            pictures[folder, stem] = "image/jpeg", make_thumbnail(path.read_bytes(), size)
        except (UnidentifiedImageError, OSError) as error:
            raise ReductionError(f"{path} is no picture ({error}): make it again") from error
    return pictures


def read_benchmarks(folder):
    """Return rule -> list of (seconds, MB or None) from Snakemake's tables; a row without numbers is left out."""
    benchmarks = {}
    for path in sorted(folder.rglob("*.tsv")):
        for row in csv.DictReader(path.read_text().splitlines(), delimiter="\t"):
            try:
                job = float(row["s"]), None if row["max_rss"] in ("-", "NA") else float(row["max_rss"])
            except (KeyError, TypeError, ValueError):
                continue
            benchmarks.setdefault(path.relative_to(folder).parts[0].removesuffix(".tsv"), []).append(job)
    return benchmarks


def read_warnings(folder):
    """Return rule -> list of (log, text) of the lines that begin with WARNING."""
    warnings = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".log", ".txt") and path.is_file():
            name = path.relative_to(folder)
            for line in path.read_text(errors="replace").splitlines():
                if line.startswith("WARNING"):
                    text = line.removeprefix("WARNING").strip(" :")
                    warnings.setdefault(name.parts[0].removesuffix(path.suffix), []).append((str(name), text))
    return warnings


if __name__ == "__main__":
    main()
