"""Text of CRDS rule files (.pmap, .imap, .rmap), read without running it.

A rule file is Python text of two or three assignments: `header` (a dictionary), `selector` (a dictionary, or nested
calls like `Match({key: ClosestTime({date: file})})`), and perhaps `comment`. Here it is parsed, never executed.
"""

import ast
from typing import NamedTuple

from drs.errors import ReductionError

EXPECTED = "expected header = {...} and selector = {...} or Match({...}), of plain values"


class Selector(NamedTuple):
    """One level of an rmap: how it chooses, and (key, value) of each case; a value is a Selector or a file."""

    method: str
    cases: list


class RuleFile(NamedTuple):
    """A rule file: header, selector (dict of a pmap or imap, Selector of an rmap), comment or None."""

    header: dict
    selector: dict | Selector
    comment: str | None = None


def parse_rules(text, name):
    """Return the RuleFile in a text; anything but plain values in it is refused.

    Parameters
    ----------
    text : str
    name : str
        File name, for the message.
    """
    parts = {}
    try:
        for statement in ast.parse(text).body:
            key = _assigned_name(statement)
            parts[key] = _parse_selector(statement.value) if key == "selector" else ast.literal_eval(statement.value)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ReductionError(
            f"{name} is no rule file of CRDS ({reason}); {EXPECTED}: mend it or leave it out"
        ) from error
    comment = parts.get("comment")
    if not isinstance(parts.get("header"), dict) or "selector" not in parts or not isinstance(comment, str | None):
        found = ", ".join(parts) or "nothing"
        raise ReductionError(f"{name} is no rule file of CRDS (it has {found}); {EXPECTED}: mend it or leave it out")
    return RuleFile(parts["header"], parts["selector"], comment)


def _assigned_name(statement):
    """Return the name that a statement assigns to; refuse any other statement."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        name = getattr(statement.targets[0], "id", None)
        if name in ("header", "selector", "comment"):
            return name
    raise ValueError(f"line {statement.lineno} is {ast.unparse(statement)[:60]!r}")


def _parse_selector(node):
    """Return the selector of a node: a dict, or a Selector for a call."""
    if isinstance(node, ast.Call):
        if len(node.args) != 1 or node.keywords or not isinstance(node.args[0], ast.Dict):
            raise ValueError(f"line {node.lineno} is {ast.unparse(node)[:60]!r}")
        pairs = zip(node.args[0].keys, node.args[0].values, strict=True)
        return Selector(_method(node), [(_key(key), _parse_case(value)) for key, value in pairs])
    selector = ast.literal_eval(node)
    if not isinstance(selector, dict):
        raise ValueError(f"the selector is {ast.unparse(node)[:60]!r}")
    return selector


def _method(node):
    """Return the name that a call calls; a plain name only."""
    if not isinstance(node.func, ast.Name):
        raise ValueError(f"line {node.lineno} calls {ast.unparse(node.func)[:60]!r}")
    return node.func.id


def _key(node):
    """Return the key of a case; `**` has none."""
    if node is None:
        raise ValueError("a case without key (**)")
    return ast.literal_eval(node)


def _parse_case(node):
    """Return the value of a case: a Selector, or a plain value that names files."""
    return _parse_selector(node) if isinstance(node, ast.Call) else ast.literal_eval(node)


def format_rules(rules):
    """Return a RuleFile as text that `parse_rules` reads; CRDS has its own form of it."""
    parts = [f"header = {rules.header!r}"]
    if rules.comment is not None:
        parts.append(f"comment = {rules.comment!r}")
    return "\n\n".join([*parts, f"selector = {_format_selector(rules.selector)}"]) + "\n"


def _format_selector(selector):
    """Return the text of a selector or of a plain value."""
    if not isinstance(selector, Selector):
        return repr(selector)
    cases = ",\n".join(f"{key!r}: {_format_selector(value)}" for key, value in selector.cases)
    return f"{selector.method}({{{cases}}})"


def list_files(selector):
    """Return the files that a selector names, sorted."""
    return sorted(set(_walk_files(selector)))


def _walk_files(value):
    """Yield the files in a value: those of all cases, of a tuple, of a dictionary."""
    if isinstance(value, Selector):
        value = [item for _, item in value.cases]
    if isinstance(value, dict):
        value = list(value.values())
    for item in value if isinstance(value, list | tuple) else ():
        yield from _walk_files(item)
    if isinstance(value, str) and value.upper() not in ("N/A", "OMIT", "TEMP_N/A", "TEMP_OMIT"):
        yield value
