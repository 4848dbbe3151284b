"""Names of products and options: what the plan of a night, its rules and its report call things."""

import shlex

from drs.keywords import CONFIGURATION, IDENTITY

MADE = ("level1", "level2", "level3", "calibrations")
PICTURED = ("calibrations", "level2", "level3")
ON_SKY, IMAGED_STARS, STARS = ("science", "sky"), ("flux-star", "psf-star"), ("flux-star", "psf-star", "telluric")
THROUGH_SKY = (*ON_SKY, *STARS, "star-field")


def level1(row):
    """Return the Level 1 product of an exposure."""
    return f"level1/{row['obs']}_LVL1_{row['exp']}.fits"


def level2(row):
    """Return the Level 2 product of an exposure."""
    return f"level2/{row['obs']}_LVL2_{row['exp']}.fits"


def identity_keywords(row):
    """Return the keywords that hold for an exposure where its header has none."""
    return {key: row["keys"][key] for key in (*CONFIGURATION, *IDENTITY, "IMTYPE", "EXPDTST")}


def list_products(row, night):
    """Return the products that are made from one exposure alone."""
    has_level2 = row["kind"] in (*ON_SKY, *STARS, "fibre") and row["id"] not in night["level1_only"]
    return [level1(row), level2(row)] if has_level2 else [level1(row)]


def quality(product):
    """Return the file of a product's quality numbers."""
    return f"quality/{product.removesuffix('.fits')}.json"


def picture(product):
    """Return the preview of a product."""
    return f"quicklook/{product.removesuffix('.fits')}.png"


def options(section):
    """Return a section of the configuration as options of a command, quoted: --key-with-dashes=value ..., without null.

    Snakemake compares the parameters of a job as a set of values without names: a plain 2 in place of a 1 is not seen
    where another parameter is 2. Quoted here once, they are not quoted by it for each job, three times.
    """
    return shlex.join(f"--{key.replace('_', '-')}={value}" for key, value in section.items() if value is not None)
