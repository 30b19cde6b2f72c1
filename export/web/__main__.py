"""`python -m export.web --artifact artifact/ --serve`: the exported model as a page that runs it in the browser."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from export.edge import plugins
from export.edge.command import Parser
from export.edge.errors import run
from export.web.build import build_page, file_count
from export.web.serve import make_server, url_of

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m export.web", description="Build a page that runs an exported model in the browser.")
    parser.add_argument("--artifact", type=Path, required=True, help="the folder that export.to_onnx wrote")
    parser.add_argument("--output", type=Path, default=Path("site"), help="folder to write the page in (default: site)")
    parser.add_argument(
        "--examples",
        type=Path,
        metavar="DIR",
        help="pictures to offer on the page; default: painted sunrises, or none where --input-name of the export was "
        "something else",
    )
    parser.add_argument(
        "--onnxruntime-web",
        type=Path,
        metavar="DIR|TGZ",
        help="the npm package onnxruntime-web, for builds without a network; default: fetched once, then kept",
    )
    parser.add_argument("--serve", action="store_true", help="serve the page until Ctrl-C")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to serve at; 0.0.0.0 serves phones in the same network, too (default: 127.0.0.1, this machine "
        "alone)",
    )
    parser.add_argument("--port", type=int, default=8000, help="port to serve at, 0 for a free one (default: 8000)")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Build the page, print where it is, and serve it if asked to. Raises UserError for a path that cannot be used."""
    words = plugins.take(argv, "edge")
    arguments = _parser().parse_args(words)
    build_page(arguments.artifact, arguments.output, arguments.examples, arguments.onnxruntime_web)
    written = [path for path in arguments.output.rglob("*") if path.is_file()]
    print(f"{arguments.output}  {file_count(written)}", flush=True)
    if not arguments.serve:
        return
    with make_server(arguments.output, arguments.host, arguments.port) as server:
        print(f"{url_of(arguments.host, server.server_port)}  (Ctrl-C ends it)", flush=True)
        if arguments.host not in LOOPBACK:
            print(
                "note: by a plain http address of another machine browsers allow neither threads nor offline use; "
                "put https in front",
                file=sys.stderr,
            )
        server.serve_forever()


def cli() -> None:
    """The console script."""
    run(main)


if __name__ == "__main__":
    cli()
