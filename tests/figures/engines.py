"""Which engines run an exported model, and how far they are from onnxruntime here: the table of docs/deploying.md.

`python -m tests.figures.engines artifact --work DIR` makes an environment for each engine in DIR, from the package
index, and runs the sampling loops of the artifact in it, as they were written and by processes of their own. An engine
that cannot run one is in the table with its reason.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from export import ort_format, sampler_graph, unrolled_graph
from export.edge.errors import UserError, run
from export.edge.markdown import table
from export.edge.model.artifact import open_artifact
from export.edge.model.layout import SAMPLER, UNROLLED, model_file
from export.edge.sampling.noise import normal
from export.publish import write
from tests.figures.counts import check_counts

TIMES = 9
"""Calls that are timed, after one that is not; the median counts."""
PATIENCE = 600
"""Seconds before a call that does not end is given up."""
FRAME = """
import json, os, sys, time  # Times are of the processor: other work on the machine does not count.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np
graph, given, made, times = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
feeds = dict(np.load(given))
{program}
found = call(feeds)
seconds = []
for _ in range(times):
    start = time.process_time()
    call(feeds)
    seconds.append(time.process_time() - start)
np.save(made, np.asarray(found))
print(json.dumps(sorted(seconds)[len(seconds) // 2] if seconds else None))
"""
"""The process of an engine; its program makes `call(feeds)`, the picture, of `graph`, with one thread."""
ONNXRUNTIME = """
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
call = lambda feeds: session.run(None, feeds)[0]
"""
REFERENCE = """
from onnx.reference import ReferenceEvaluator
session, times = ReferenceEvaluator(graph), 1
call = lambda feeds: session.run(None, feeds)[0]
"""
SLIM = """
import onnx, onnxslim
graph = onnxslim.slim(onnx.load(graph)).SerializeToString()
"""
SIMPLIFIED = """
import onnx, onnxsim
graph = onnxsim.simplify(onnx.load(graph))[0].SerializeToString()
"""
OPENVINO = """
import openvino
core, settings = openvino.Core(), {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
session = core.compile_model(core.read_model(graph), "CPU", settings)
call = lambda feeds: session(feeds)[session.output(0)]
"""
MNN = """
import pathlib, subprocess
import MNN.expr as F, MNN.nn as nn
tool, file = pathlib.Path(sys.executable).with_name("mnnconvert"), made + ".mnn"
words = [tool, "-f", "ONNX", "--modelFile", graph, "--MNNModel", file, "--bizCode", "test"]
done = subprocess.run(words, capture_output=True, text=True)
if not pathlib.Path(file).exists():
    sys.exit((done.stdout + done.stderr).strip().splitlines()[-1])
names = list(feeds)
session = nn.load_module_from_file(file, names, ["picture"])
def call(feeds):
    values = [F.const(feeds[n].ravel().tolist(), list(feeds[n].shape), F.data_format.NCHW) for n in names]
    return np.array(F.convert(session.forward(values)[0], F.data_format.NCHW).read())
"""
TRACT = """
import tract
loaded = tract.onnx().load(graph)
names = [loaded.input_name(i) for i in range(loaded.input_count())]
for i, name in enumerate(names):
    loaded.set_input_fact(i, ",".join(map(str, feeds[name].shape)) + ",f32")
session = loaded.into_model().into_runnable()
call = lambda feeds: session.run([feeds[name] for name in names])[0].to_numpy()
"""


@dataclass(frozen=True)
class Engine:
    """One row or more of the table."""

    name: str
    packages: tuple[str, ...]
    """What its environment holds; none for that of this process."""
    program: str


ENGINES = (
    Engine("onnxruntime, the newest here", (), ONNXRUNTIME),
    Engine("onnxruntime 1.20", ("numpy", "onnxruntime==1.20.0"), ONNXRUNTIME),
    Engine("onnx ReferenceEvaluator", (), REFERENCE),
    Engine("onnxslim, then onnxruntime", ("numpy", "onnx", "onnxslim", "onnxruntime"), SLIM + ONNXRUNTIME),
    Engine("onnxsim, then onnxruntime", ("numpy", "onnx", "onnxsim", "onnxruntime"), SIMPLIFIED + ONNXRUNTIME),
    Engine("OpenVINO", ("numpy", "openvino"), OPENVINO),
    Engine("MNN", ("numpy", "MNN"), MNN),
    Engine("tract", ("numpy", "tract"), TRACT),
)


@dataclass(frozen=True)
class Result:
    """What an engine made of a graph."""

    difference: float
    """Largest, in [0, 1]."""
    milliseconds: float


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.figures.engines", description=__doc__)
    parser.add_argument("artifact", type=Path, help="folder that export.to_onnx wrote")
    parser.add_argument("--work", type=Path, required=True, help="folder for environments and graphs")
    parser.add_argument("--size", type=int, default=64, help="side of the picture, pixels (default: 64)")
    parser.add_argument("--only", nargs="+", help="beginnings of the names of engines")
    arguments = parser.parse_args(argv)
    check_counts(arguments, "size")
    arguments.work.mkdir(parents=True, exist_ok=True)
    graphs = write_graphs(arguments.artifact, arguments.work)
    feeds = arguments.work / "feeds.npz"
    sides = (1, 3, arguments.size, arguments.size)
    given = {"cond": np.tanh(normal(1, 0, sides)), "noise": normal(2, 0, sides)}
    if open_artifact(arguments.artifact).slider:
        given["realism"] = np.ones(1, np.float32)
    np.savez(feeds, **given)
    chosen = [one for one in ENGINES if not arguments.only or one.name.startswith(tuple(arguments.only))]
    first = tried(ENGINES[0], graphs[SAMPLER], feeds, None, arguments.work)
    wanted = np.load(_made(arguments.work))
    rows = []
    for engine in chosen:
        for name, graph in graphs.items():
            if graph.suffix == ".ort" and engine is not ENGINES[0]:
                continue
            found = tried(engine, graph, feeds, wanted, arguments.work)
            rows.append([engine.name, f"`{name}`", *cells(found, first)])
            print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    print("\n".join(table(["engine", "graph", "largest difference", "time"], rows)))


def write_graphs(artifact: Path, work: Path) -> dict[str, Path]:
    """The sampling loops of an artifact with one network and no codec, by their names."""
    loop = sampler_graph.build(onnx.load(model_file(artifact)))
    graphs = {SAMPLER: work / SAMPLER, UNROLLED: work / UNROLLED, "sampler.ort": work / "sampler.ort"}
    write(graphs[SAMPLER], loop)
    write(graphs[UNROLLED], unrolled_graph.build(loop))
    ort_format.convert(graphs[SAMPLER], graphs["sampler.ort"])
    return graphs


def tried(engine: Engine, graph: Path, feeds: Path, wanted: np.ndarray | None, work: Path) -> Result | str:
    """What an engine makes of a graph, compared with `wanted`, or the reason why it does not run it."""
    try:
        python = environment(engine, work)
        code = FRAME.replace("{program}", engine.program)
        words = [python, "-c", code, graph, feeds, _made(work), str(TIMES)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return f"not done after {PATIENCE} s"
    if done.returncode:
        return _reason(done.stderr)
    made = np.load(_made(work))
    difference = 0.0 if wanted is None else float(np.abs(made.reshape(wanted.shape) - wanted).max())
    return Result(difference, 1000.0 * json.loads(done.stdout.splitlines()[-1]))


def cells(found: Result | str, first: Result | str) -> list[str]:
    """The last two columns: the time is a multiple of that of onnxruntime with sampler.onnx."""
    if isinstance(found, str) or isinstance(first, str):
        return [f"does not run: {found}", ""]
    return [f"{found.difference:.1e}", f"× {found.milliseconds / first.milliseconds:.2f}"]


def _made(work: Path) -> Path:
    return work / "made.npy"


def _reason(errors: str) -> str:
    """The first line that names the error, shortened."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    named = [line for line in lines if "rror" in line.split(":")[0]] or lines[-1:] or ["no reason given"]
    return named[-1].replace("|", "/")[:160]


def environment(engine: Engine, work: Path) -> Path:
    """The Python of an engine, made the first time."""
    if not engine.packages:
        return Path(sys.executable)
    folder = work / "".join(letter if letter.isalnum() else "_" for letter in engine.name)
    python = folder / "bin/python"
    if not (folder / "complete").exists():
        for words in ([sys.executable, "-m", "venv", folder], [python, "-m", "pip", "install", "-q", *engine.packages]):
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                raise UserError(f"the environment of {engine.name} cannot be made: {_reason(done.stderr)}")
        (folder / "complete").touch()
    return python


if __name__ == "__main__":
    run(main)
