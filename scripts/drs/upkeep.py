"""What the last run left beside the outputs that Snakemake knows: where some of it is lost, its maker runs again."""

import json
from pathlib import Path

from drs.mapping import holds_context
from drs.references import manifest_path, part_path, reference_path


def drop_broken(folder, overlay, stages):
    """Remove what can be made again of a night's references, as other files that belong to it were lost.

    An index `<stage>.json` that cannot be read, or names manifests or parts of them that are not there; a
    `contexts/<stage>.json` that cannot be read, or whose context or references the night's own cache does not hold.

    Parameters
    ----------
    folder : path-like
        `references/` of the night.
    overlay : path-like
        The night's own CRDS cache.
    stages : iterable of str
    """
    folder, overlay = Path(folder), Path(overlay)
    for stage in stages:
        for path, is_whole in (
            (folder / f"{stage}.json", _is_index),
            (folder / f"contexts/{stage}.json", _is_delivery),
        ):
            if path.is_file() and not _holds(is_whole, path, folder, overlay):
                path.unlink(missing_ok=True)


def _holds(is_whole, path, folder, overlay):
    """Say whether a document can be read, makes sense, and all that it names is there."""
    try:
        return is_whole(json.loads(path.read_text()), folder, overlay)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False


def _is_index(document, folder, overlay):
    """Say whether all manifests of an index are there."""
    entries = document["exposures"].items()
    files = [manifest_path(folder, exposure) for exposure, _ in entries]
    files += [part_path(folder, level, exposure) for exposure, entry in entries for level in entry.get("levels", ())]
    return all(file.is_file() for file in files)


def _is_delivery(document, folder, overlay):
    """Say whether the night's own cache holds what was delivered, and the rules that name it."""
    delivered = document["delivered"]
    files = [reference_path(overlay, name.partition("_")[0], name) for name in delivered]
    return not delivered or (all(file.is_file() for file in files) and holds_context(overlay, document["context"]))
