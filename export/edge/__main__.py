"""`python -m export.edge MODEL PHOTO OUTPUT`: translate a photo, or a folder of them, with an exported model.

Without MODEL, with the model that comes with this package. `python -m export.edge info MODEL` says what a model is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from export.edge import plugins
from export.edge.arguments import make_parser
from export.edge.errors import run


def main(argv: Sequence[str] | None = None) -> None:
    """Translate a photo into its output, or a folder into a folder; print where and the seconds taken.

    Raises UserError for bad input, and at the end when some photos of a folder were passed over.
    """
    words = plugins.take(argv, "edge")
    if words[:1] == ["info"]:
        from export.edge import info  # A translation does without it.

        info.main(words[1:])
        return
    # Intermixed: flags may stand between the three, and the first of them may be missing.
    arguments = make_parser().parse_intermixed_args(words)
    from export.edge import checks, opening  # From here on --help and --version, which load little, are left behind.
    from export.edge.pretrained import or_pretrained

    arguments.model = or_pretrained(arguments.model, arguments.photo)
    jobs, along = checks.check(arguments)
    with opening.begun(arguments) as model:
        from export.edge import photos

        photos.translate_as_told(arguments, model, jobs, along)


def cli() -> None:
    """Entry point of the console script."""
    # Before numpy is loaded. Its threads take longer to start than they save: what it multiplies here is small.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    run(main)


if __name__ == "__main__":
    cli()
