"""Who may import whom: in the code, in the linter that checks it, and in what a running process loads."""

from __future__ import annotations

import functools
import graphlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import grimp
import pytest

PACKAGES = ("export", "jax_impl", "torch_ref")

# What is allowed, standard library apart; a package may always import itself.
ALLOWED = {
    "export.edge": {"numpy", "PIL"},
    "export.edge.model.sealed": {"numpy", "PIL", "onnxruntime", "export.edge"},
    "export.edge.pictures.kinds": {"numpy", "PIL", "pillow_heif", "export.edge"},
    "jax_impl": {
        *("jax", "flax", "optax", "orbax", "grain", "tensorflow_datasets", "numpy", "PIL", "matplotlib"),
        *("safetensors", "tqdm", "tensorboardX", "filelock", "array_record", "importlib_resources"),
        *("jaxtyping", "wandb"),
        "export.edge",
    },
    "torch_ref": {"torch", "numpy", "safetensors", "export.edge"},
    "export.web": {"numpy", "PIL", "export.edge"},
    "export.video": {"export.edge", "export.video_file"},
    "export.video_file": {"av", "numpy", "PIL", "export.edge"},
    "export": {"torch", "onnx", "onnxruntime", "numpy", "PIL", "safetensors", "torch_ref"},
}


def is_in(module: str, package: str) -> bool:
    """Whether `module` is `package` or lies inside it."""
    return module == package or module.startswith(package + ".")


def modules(root: Path, package: str) -> list[str]:
    """Dotted names of a package's modules; those that run on import (`__main__`) are left out."""
    folder = root / package.replace(".", "/")
    files = sorted(path.relative_to(root) for path in folder.rglob("*.py") if path.stem != "__main__")
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files]
    return [name for name in names if name != f"{package}.__init__"]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the linter on the tree at `folder` with the settings found there."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]
    # The tree under test comes first on the path, before the one that is installed.
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def loaded_by(names: Iterable[str], suspects: Iterable[str], root: Path) -> set[str]:
    """The `suspects` that a fresh process holds after it imported the modules `names`."""
    code = (
        "import importlib, sys\n"
        f"for name in {sorted(names)!r}: importlib.import_module(name)\n"
        f"print(' '.join(s for s in {sorted(suspects)!r} if s in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@functools.cache
def imports() -> dict[str, set[str]]:
    """What each module of the packages imports, of them and of others; imports for types alone are in it."""
    graph = grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)
    own = (module for module in graph.modules if any(is_in(module, package) for package in PACKAGES))
    return {module: graph.find_modules_directly_imported_by(module) for module in own}


def test_every_import_is_allowed(root: Path) -> None:
    broken = []
    for importer, found in sorted(imports().items()):
        package = max((p for p in ALLOWED if is_in(importer, p)), key=len)
        allowed = ALLOWED[package] | {package} | set(sys.stdlib_module_names)
        for imported in sorted(found):
            if not any(is_in(imported, name) for name in allowed):
                broken.append(f"{importer} imports {imported}")
    assert broken == []


def test_no_modules_import_each_other_in_a_circle(root: Path) -> None:
    own = {name: found & imports().keys() for name, found in imports().items()}
    try:
        order = list(graphlib.TopologicalSorter(own).static_order())
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")
    place = {name: n for n, name in enumerate(order)}
    assert place.keys() == own.keys()
    assert all(place[imported] < place[name] for name, others in own.items() for imported in others)


@pytest.mark.slow  # CI runs the linter itself; the test above it needs no process.
def test_the_linter_finds_nothing(root: Path) -> None:
    done = lint_imports(root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


PLANTED = {
    "export/edge": [
        "import torch",
        "import onnxruntime",
        "def later() -> None:\n    import jax",
        "from export import to_onnx",
        "import jax_impl.config.tree",
    ],
    "export": ["from jax.numpy import asarray", "import jax_impl"],
    "jax_impl/training": ["import torch"],
    "jax_impl": ["import tensorflow", "import torch_ref.blocks", "import onnxruntime", "from export import to_onnx"],
    "torch_ref": ["import jax", "from jax_impl import config", "import onnx"],
}


def test_linter_finds_every_planted_import(root: Path, tmp_path: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "web"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    (tmp_path / "export/to_onnx.py").touch()
    planted = []
    for folder, lines in PLANTED.items():
        for number, line in enumerate(lines):
            file = Path(folder) / f"planted_{number}.py"
            (tmp_path / file).write_text(line + "\n")
            planted.append(".".join(file.with_suffix("").parts))
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert [name for name in planted if f"{name} ->" not in done.stdout] == []


def test_edge_loads_numpy_and_pillow_alone(root: Path) -> None:
    # Not even onnxruntime: it is loaded when a model is opened, so that the rest works without it.
    names = modules(root, "export.edge")
    assert {"export.edge.model.artifact", "export.edge.translate", "export.edge.pictures.files"} <= set(names)
    heavy = {"onnxruntime", "onnx", "torch", "jax", "flax", "safetensors", "matplotlib", "tqdm", "scipy"}
    assert loaded_by(names, heavy, root) == set()
    assert loaded_by(["export.edge.__main__", "export.edge.photos"], heavy, root) == set()


def test_a_page_is_built_where_the_edge_runs(root: Path) -> None:
    heavy = {"onnxruntime", "onnx", "torch", "torch_ref", "jax", "safetensors", "playwright"}
    assert loaded_by([*modules(root, "export.web"), "export.web.__main__"], heavy, root) == set()


def test_the_edge_starts_without_what_a_translation_does_not_need(root: Path) -> None:
    unneeded = {"export.edge.metrics", "export.edge.info", "export.edge.along", "PIL.ImageCms", "importlib.metadata"}
    assert loaded_by(["export.edge.__main__", "export.edge.opening", "export.edge.photos"], unneeded, root) == set()


def test_jax_impl_loads_neither_torch_nor_tensorflow(root: Path) -> None:
    assert (
        loaded_by(modules(root, "jax_impl"), {"torch", "torch_ref", "tensorflow", "onnx", "diffusers"}, root) == set()
    )


USE = """
import sys
from pathlib import Path
from PIL import Image
from jax_impl import bundle, sample, train
folder = Path(sys.argv[1])
run, photo = str(folder / "run"), str(folder / "photo.png")
train.main(["tiny", "--data.size", "16", "--data.repeats", "1", "--data.synthetic-pairs", "4",
    "--data.synthetic-val-pairs", "1", "--model.patch", "4", "--model.width", "8", "--model.groups", "4",
    "--model.multipliers", "1", "--model.blocks", "1", "--train.epochs", "1", "--train.batch-size", "2",
    "--train.sample-steps", "1",
    "--train.tensorboard", "--output-dir", run])
bundle.main(["--run", run, "--output", str(folder / "model.safetensors")])
Image.new("RGB", (16, 16), "navy").save(photo)
sample.main(["--run", run, "--input", photo, "--output", str(folder / "sunset.png"), "--steps", "1"])
print("loaded:", *(name for name in ("torch", "torch_ref", "tensorflow") if name in sys.modules))
"""


@pytest.mark.slow  # A whole run in a process; what is loaded by imports is tested always.
def test_jax_impl_uses_neither_torch_nor_tensorflow(root: Path, tmp_path: Path) -> None:
    # Libraries load others late: tensorboardX takes torch, and flax TensorFlow, where they are asked for more.
    command = [sys.executable, "-c", USE, str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].strip() == "loaded:"
    assert (tmp_path / "sunset.png").exists()
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 3  # two steps and their epoch
    assert list((tmp_path / "run/tensorboard").iterdir())


def test_torch_ref_loads_neither_jax_nor_tensorflow(root: Path) -> None:
    suspects = {"jax", "jaxlib", "flax", "jax_impl", "onnxruntime", "tensorflow"}
    assert loaded_by(modules(root, "torch_ref"), suspects, root) == set()


def test_export_loads_neither_jax_nor_tensorflow(root: Path) -> None:
    suspects = {"jax", "jaxlib", "flax", "jax_impl", "tensorflow"}
    assert loaded_by(modules(root, "export"), suspects, root) == set()
