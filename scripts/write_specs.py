"""Write the add-on's description of the reference types (specs, .tpn, empty rules) from the configuration.

To be run after an edit of config/references.yaml, config/instruments or config/products.
"""

import click

from drs import cli, references, specs
from drs.schema import load_yaml


@cli.command()
@click.option("--types", type=cli.existing_file, required=True, help="The types of references, references.yaml.")
@click.option("--instruments", type=cli.existing_folder, required=True, help="Folder of the instrument files.")
@click.option("--output", type=cli.existing_folder, required=True, help="The add-on's package, crds_ligeriri/ligeriri.")
def main(types, instruments, output):
    """Write specs and .tpn files of all reference types into the add-on."""
    files = [path for path in sorted(instruments.glob("*.yaml")) if path.stem != "schema"]
    specs.write_specs(references.load_types(types), [load_yaml(path) for path in files], output)


if __name__ == "__main__":
    main()
