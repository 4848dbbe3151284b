"""Rule files of CRDS as text, and which names a cache may hold; crds itself is not imported.

A rule file is a Python literal with its own checksum in its header; a context is a .pmap with the .imap and .rmap
files that it names. Names come from servers and from rule files: none reaches a path before `check_name`.
"""

import ast
import hashlib
import re
from pathlib import Path

from drs.errors import ReductionError
from drs.references import mapping_path, observatory_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
MAPPING = re.compile(r"ligeriri[a-z0-9_]*\.[pir]map")
ORDER = (".rmap", ".imap", ".pmap")  # a file comes after those that it names
ASK = "ask the keeper of the source"


def is_mapping(name):
    """Say whether a name is that of a rule file."""
    return str(name).endswith(ORDER)


def check_name(name):
    """Return a name that is safe as the name of a file in a cache; refuse every other."""
    if not isinstance(name, str) or not (MAPPING if is_mapping(name) else NAME).fullmatch(name):
        raise ReductionError(f"{str(name)[:120]!r} is no name of a file of CRDS and is refused; {ASK}")
    return name


def sort_mappings(names):
    """Return the names of rule files, each after those that it may name."""
    return sorted(names, key=lambda name: (ORDER.index(name[-5:]), name))


def find_named(text, name):
    """Return the names of the rule files that a context's file names, each safe.

    Parameters
    ----------
    text : str
        Content of the rule file.
    name : str
        Its name, for the message.
    """
    if name.endswith(".rmap"):
        return []
    selector = _read_assignment(text, "selector", name)
    named = {node.value for node in ast.walk(selector) if isinstance(node, ast.Constant) and is_mapping(node.value)}
    return sorted(map(check_name, named))


def holds_context(root, context):
    """Say whether a cache holds its server_config, a context, and all rule files that this names."""
    names, waiting = set(), [context]
    while waiting:
        name = waiting.pop()
        try:
            waiting += set(find_named(mapping_path(root, name).read_text(), name)) - names
        except (ReductionError, OSError, ValueError):
            return False
        names.add(name)
    return (Path(root) / "config" / observatory_of(context) / "server_config").is_file()


def check_mapping(text, name):
    """Refuse a rule file that is not `name`, or whose own checksum does not hold: crds would not load it."""
    try:
        header = ast.literal_eval(_read_assignment(text, "header", name))
        stated, own = header["sha1sum"], header["name"]
    except (ValueError, TypeError, KeyError) as error:
        raise ReductionError(f"{name} has no header with name and sha1sum; {ASK}") from error
    if own != name:
        raise ReductionError(f"{name} says that it is {str(own)[:120]!r}; {ASK}")
    lines = [line for line in text.splitlines(keepends=True) if "sha1sum" not in line]
    actual = hashlib.sha1("".join(lines).encode()).hexdigest()
    if stated != actual:
        raise ReductionError(f"{name} was edited: its sha1sum is {actual}, its header says {stated}; {ASK}")


def is_intact(path):
    """Say whether a file is a rule file whose own checksum holds."""
    try:
        check_mapping(path.read_text(), path.name)
    except (ReductionError, OSError, ValueError):
        return False
    return True


def _read_assignment(text, variable, name):
    """Return the parsed value that a rule file assigns to a variable."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ReductionError(f"{name} is no rule file of CRDS ({error}); {ASK}") from error
    values = [node.value for node in body if isinstance(node, ast.Assign) and ast.unparse(node.targets) == variable]
    if len(values) != 1:
        raise ReductionError(f"{name} assigns {len(values)} times to '{variable}', expected once; {ASK}")
    return values[0]
