"""Command lines made with argparse: mistakes in one line, `--plugin` and `--version` for every command."""

from __future__ import annotations

import argparse
from typing import NoReturn

from export.edge import plugins
from export.edge.errors import UserError
from export.edge.version import __version__

VERSION = f"dawn2dusk {__version__}"
"""What `--version` prints."""


class Parser(argparse.ArgumentParser):
    """A parser that names a mistake in one line, as for every other mistake, in place of the usage text.

    Its help lists `--plugin`; `plugins.take` has removed it from the words before they are parsed, since what
    there is to choose from depends on it.
    """

    def __init__(
        self, *, prog: str, description: str | None = None, epilog: str | None = None, loads: bool = True
    ) -> None:
        """`loads`: whether the command loads modules of the user."""
        super().__init__(prog=prog, description=description, epilog=epilog)
        if loads:
            self.add_argument(plugins.FLAG, metavar="MODULE", help=plugins.HELP)
        self.add_argument("--version", action="version", version=VERSION, help="print the version and exit")

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `{self.prog} --help`")
