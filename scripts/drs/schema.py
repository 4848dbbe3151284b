"""Schemas of the products (config/products) and of the YAML files a user writes."""

import math
from functools import cache
from pathlib import Path

import jsonschema
import yaml
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from drs.errors import ReductionError

PRODUCTS = Path(__file__).resolve().parents[2] / "config" / "products"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Safe YAML of what JSON and FITS hold: a date stays the text it is, a number is finite."""

    def construct_finite(self, node):
        """Return the number in a node; refuse .nan and .inf."""
        value = self.construct_yaml_float(node)
        if not math.isfinite(value):
            raise yaml.constructor.ConstructorError(None, None, f"{node.value} is not a number", node.start_mark)
        return value


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_finite)


@cache
def load_schema(path):
    """Return the JSON Schema in the YAML file `path`, with its neighbours resolvable by file name."""

    @cache
    def retrieve(name):
        return Resource(contents=load_yaml(path.parent / name), specification=DRAFT202012)

    return jsonschema.Draft202012Validator(load_yaml(path), registry=Registry(retrieve=retrieve))


def load_yaml(path):
    """Return what the YAML file `path` holds, dates as text; a defect is named with its line."""
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a number such as 0x_
        raise ReductionError(f"{path} is not valid YAML: {error}") from error


def find_problems(schema_path, document):
    """Return every disagreement of `document` with a schema as text `where: what`, in a fixed order."""
    problems = []
    for error in load_schema(Path(schema_path)).iter_errors(document):
        where = ".".join(str(part) for part in error.absolute_path)
        problems.append(f"{where}: {error.message}" if where else error.message)
    return sorted(problems)


def check_document(schema_path, document, *, name):
    """Refuse a document that disagrees with its schema, naming every defect at once."""
    if problems := find_problems(schema_path, document):
        listed = "\n  ".join(problems)
        raise ReductionError(f"{name} does not fit {Path(schema_path).name}:\n  {listed}")


def product_models():
    """Return the names of the product models that have a schema."""
    return sorted(path.stem for path in PRODUCTS.glob("*Model.yaml"))


@cache
def keyword_descriptions():
    """Return keyword -> description, the comments of the FITS cards."""
    keywords = load_yaml(PRODUCTS / "common.yaml")["$defs"]["keywords"]["properties"]
    return {keyword: entry.get("description", "") for keyword, entry in keywords.items()}
