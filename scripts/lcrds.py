"""The programs of crds for the observatory ligeriri: `python scripts/lcrds.py certify ./some.rmap`."""

from crds_ligeriri import run

if __name__ == "__main__":
    run()
