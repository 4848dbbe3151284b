"""What a CRDS cache on disk holds, only read: for a mirror to copy from, and for a server to serve."""

from pathlib import Path

from drs.errors import ReductionError
from drs.mapping import NAME, check_name, find_named, is_mapping
from drs.metadata import read_metadata
from drs.references import mapping_path, read_server_config, sha1


class Holding:
    """The files of one cache by their names.

    Parameters
    ----------
    root : path-like
        Root of the cache.
    follow_links : bool, optional
        False leaves out files that are links to a place outside the cache.
    """

    def __init__(self, root, *, follow_links=True):
        """Refuse a folder that is no cache."""
        self.root = Path(root).resolve()
        self._follow_links = follow_links
        self._hashed, self._config = {}, (None, None)
        self.read_config()

    def read_config(self):
        """Return the cache's server_config, its download_metadata as `read_metadata` returns them."""
        path = self.root / "config" / "ligeriri" / "server_config"
        stat = path.stat() if path.is_file() else None
        state = stat and (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if state is None or self._config[0] != state:
            config = read_server_config(self.root)
            self._config = state, {**config, "download_metadata": read_metadata(config.get("download_metadata"))}
        return dict(self._config[1])

    def find(self, name):
        """Return the path of a file of the cache, or None."""
        check_name(name)
        if is_mapping(name):
            candidates = [mapping_path(self.root, name)]
        else:
            folder = self.root / "references" / "ligeriri"
            candidates = [place / name for place in (folder, *_list_folders(folder))]
        return next((path for path in candidates if self._is_held(path)), None)

    def list_names(self):
        """Return the sorted names of all files of the cache."""
        folder = self.root / "references" / "ligeriri"
        places = [mapping_path(self.root, ""), folder, *_list_folders(folder)]
        files = [path for place in places if place.is_dir() for path in place.iterdir()]
        return sorted({path.name for path in files if NAME.fullmatch(path.name) and self._is_held(path)})

    def list_mappings(self, context):
        """Return the names of all rule files of a context, itself included."""
        if not is_mapping(check_name(context)):  # a reference is not read as text, however large it is
            raise ReductionError(f"{context} is no context such as ligeriri_0001.pmap; name one")
        names, waiting = set(), [context]
        while waiting:
            name = waiting.pop()
            path = self.find(name)
            if path is None:
                held = [other for other in self.list_names() if other.endswith(".pmap")]
                offered = f"; the contexts there are {', '.join(held) or 'none'}: name a whole one"
                raise ReductionError(f"rule file {name} of context {context} is not in {self.root.name}{offered}")
            names.add(name)
            waiting += set(find_named(path.read_text(errors="replace"), name)) - names
        return sorted(names)

    def describe(self, names):
        """Return name -> {"size", "sha1sum"} as the cache's metadata state them, else of the file itself."""
        stated = self.read_config()["download_metadata"]
        facts = {name: stated.get(name) or self._measure(name) for name in names}
        return {name: entry for name, entry in facts.items() if entry}

    def _measure(self, name):
        """Return size and sha1 of a file, which is hashed again only when it has changed; None without it."""
        path = self.find(name)
        if path is None:
            return None
        stat = path.stat()
        key = (path, stat.st_size, stat.st_mtime_ns)
        if key not in self._hashed:
            self._hashed[key] = {"size": stat.st_size, "sha1sum": sha1(path)}
        return self._hashed[key]

    def _is_held(self, path):
        """Say whether a path is a file of this cache."""
        return path.is_file() and (self._follow_links or path.resolve().is_relative_to(self.root))


def _list_folders(folder):
    """Return the sorted folders in a folder that may be missing."""
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
