"""Environments that a command may be started in: no home, odd homes and caches, devices that are not there.

JAX reads its variables once a process. So inputs are tried in a process of their own, which forgets JAX's devices after
each; it reads lines of JSON and answers each with one, [kind, detail].
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[3]
PLACES = [
    "",
    "/",
    "/proc",
    "/none/at/all",
    "relative",
    "/etc/hostname",
    "~",
    "~/x",
    "a b",
    "caf\udce9",
    "x" * 5000,
    ".",
]
"""For HOME and what else names a folder; some cannot be written, whoever asks."""
PLATFORMS = ["cpu", "cuda", "tpu", "gpuu", "CPU", "", " ", ",", "cpu,cuda", "cpu, ", "caf\udce9", "x" * 5000]
VARIABLES = ("HOME", "XDG_CACHE_HOME", "DAWN2DUSK_COMPILED")
WORDS = [
    ["export.edge", "model.onnx", "data/a.png", "out.png"],
    ["jax_impl.doctor", "data/whole.csv"],
    ["jax_impl.sample", "--run", "none", "--input", "data/a.png", "--output", "out.png"],
    ["jax_impl.bundle", "--run", "none", "--output", "out.safetensors"],
    ["jax_impl.evaluate", "--run", "none", "--output-dir", "out"],
    *(["jax_impl.doctor", path] for path in ("~", "~/data", "~nobody/data", "~root/none", "./~x", "~caf\udce9")),
    *(["jax_impl.train", "tiny", "--data.path", path] for path in ("~", "~/data", "~x")),
]
WHOLE = json.dumps({"words": WORDS[0]}).encode()
_child: subprocess.Popen | None = None


def environments() -> st.SearchStrategy[bytes]:
    """A command and the variables that differ from the usual ones, as JSON; null for one that is not set."""
    place = st.one_of(st.none(), st.sampled_from(PLACES))
    changes = st.fixed_dictionaries(
        {"words": st.sampled_from(WORDS)},
        optional={
            **dict.fromkeys(VARIABLES, place),
            "JAX_PLATFORMS": st.sampled_from(PLATFORMS),
            "COLUMNS": st.sampled_from(["0", "-1", "1", "many", ""]),
            "unknown user": st.booleans(),
        },
    )
    return changes.map(lambda found: json.dumps(found).encode())


def start(folder: Path) -> subprocess.Popen:
    """The process that tries them in `folder`, started where there is none."""
    global _child
    if _child is None or _child.poll() is not None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XDG_"))}
        _child = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.fuzz.environments"],
            cwd=folder, env={**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert _child.stdout is not None and _child.stdout.readline() == b"ready\n"
    return _child


def ask(data: bytes, folder: Path) -> tuple[str, str]:
    """What becomes of an input: fine, refused, or wrong, and why."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    words = found.get("words") if isinstance(found, dict) else None
    if words not in WORDS or not all(value is None or _may_be_set(value) for value in found.values() if value != words):
        found = json.loads(WHOLE)
    child = start(folder)
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(json.dumps(found).encode() + b"\n")
    child.stdin.flush()
    kind, detail = json.loads(child.stdout.readline())
    return kind, detail


def _may_be_set(value: Any) -> bool:
    if not isinstance(value, str):
        return isinstance(value, bool)
    with contextlib.suppress(UnicodeEncodeError):
        return b"\0" not in os.fsencode(value)
    return False


@contextlib.contextmanager
def environment(found: dict[str, Any]) -> Iterator[None]:
    """The variables of an input, and an empty list of users where it says so, for a while."""
    import jax
    from jax.extend import backend

    def unknown(asked: object) -> None:
        raise KeyError(f"{asked} not found")

    before = dict(os.environ)
    users = dict.fromkeys(("getpwuid", "getpwnam"), unknown) if found.get("unknown user") else {}
    try:
        for name in (*VARIABLES, "COLUMNS"):
            value = found.get(name, before.get(name))
            if isinstance(value, str):
                os.environ[name] = value
            else:
                os.environ.pop(name, None)
        jax.config.update("jax_platforms", found.get("JAX_PLATFORMS", "cpu"))
        jax.config.update("jax_compilation_cache_dir", None)
        with mock.patch.multiple("pwd", **users) if users else contextlib.nullcontext():
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        backend.clear_backends()


def attempt(found: dict[str, Any], wanted: bytes | None) -> tuple[str, str]:
    """Run the command; what it must not depend on makes no difference to it."""
    from export.web.runtime import cache_path
    from jax_impl.training.compiled import keep_programs
    from tests.faults.fuzz.commands import RefusedError, run_words

    door, *words = found["words"]
    picture = Path("out.png")
    picture.unlink(missing_ok=True)
    try:
        with environment(found):
            with contextlib.redirect_stderr(io.StringIO()) as said:
                keep_programs()
                cache_path()
            if len(said.getvalue().splitlines()) > 1:
                return "more than one line", said.getvalue()
            try:
                run_words(door, words)
            except RefusedError as error:
                needless = door == "export.edge"
                return ("refused without need", str(error)) if needless else ("refused in one line", "")
    except BaseException as error:
        return "traceback", "".join(traceback.format_exception(error, limit=-4))[-1500:]
    if door == "export.edge" and wanted is not None and picture.read_bytes() != wanted:
        return "silent wrong result", "another picture"
    return "fine", ""


def main() -> None:
    """Serve until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # What libraries print must not mix with the answers.
    assert attempt(json.loads(WHOLE), None) == ("fine", "")
    wanted = Path("out.png").read_bytes()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(attempt(json.loads(line), wanted)), file=answers, flush=True)


if __name__ == "__main__":
    main()
