"""A process that inputs are tried in: it may hang, grow or die, and then another takes its place.

Reads lines `DOOR SEED COUNT FIRST` and answers each input with a line of JSON, [kind, detail].
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from pathlib import Path

FINE, REFUSED, TRACEBACK = "fine", "refused in one line", "traceback"


def main(folder: Path) -> None:
    """Serve until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # What libraries print must not mix with the answers.
    warnings.simplefilter("ignore")
    # Imported here, so that the campaign's own process stays without these libraries.
    from export.edge.errors import UserError
    from tests.faults.fuzz.commands import RefusedError
    from tests.faults.fuzz.doors import inputs, suffix, walk
    from tests.faults.fuzz.material import make_material

    os.chdir(folder)
    material = make_material(folder / f"material-{os.getpid()}")
    os.chdir(material.folder)
    print(json.dumps(["ready", ""]), file=answers, flush=True)
    for line in sys.stdin:
        door, seed, count, first = line.split()
        made = inputs(door, material, int(count), int(seed))
        path = folder / f"input.{suffix(door)}"
        for index, data in enumerate(made[int(first) :], start=int(first)):
            path.write_bytes(data)
            print(json.dumps(["start", ""]), file=answers, flush=True)
            try:
                answer = (walk(door, path, material) or FINE, "")
            except (UserError, RefusedError) as error:
                answer = (REFUSED, "") if len(str(error).splitlines()) == 1 else (TRACEBACK, f"several lines: {error}")
            except OSError as error:
                # A command's `run` says it in one line.
                answer = (REFUSED, "") if door not in ("picture",) else (TRACEBACK, repr(error))
            except BaseException as error:
                answer = (TRACEBACK, "".join(traceback.format_exception(error, limit=-4))[-1500:])
            if answer[0] not in (FINE, REFUSED):
                path.with_name(f"failed-{index}{path.suffix}").write_bytes(data)
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
