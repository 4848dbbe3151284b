"""Serve a CRDS cache to others over HTTP, read-only: stock crds and sync_references can fill caches from it.

Clients set CRDS_SERVER_URL to the address that is logged; stock crds wants `http://localhost:PORT` or https.
"""

import logging

import click

from drs import cli
from drs.server import make_server

log = logging.getLogger("serve_references")


@cli.command()
@click.option("--cache", type=cli.existing_folder, required=True, help="Root of the CRDS cache, only read.")
@click.option("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0 lets other machines in.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, help="Port to listen on; 0 takes a free one.")
@click.option("--url", default=None, help="Address that clients use, where a proxy stands before this server.")
def main(cache, host, port, url):
    """Serve a CRDS cache, until interrupted."""
    with make_server(cache, host, port, url) as server:
        log.info("serves %s on %s", cache, server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            log.info("ends")


if __name__ == "__main__":
    main()
