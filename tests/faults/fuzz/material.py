"""What is whole before it is broken: a small file of every kind that has a door."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import helper
from PIL import Image
from safetensors.numpy import save

from export.edge.disk.files import sha256_file
from export.edge.model.bundles import bundle_metadata
from export.edge.model.layout import NETWORKS_FILE, write_networks
from export.edge.model.sealed import seal
from export.edge.model.variants import VARIANTS, Variant
from export.edge.pictures.kinds import decoder
from jax_impl.config.as_json import to_json
from jax_impl.config.presets import PRESETS
from jax_impl.config.tree import Config
from tests.edge.conftest import graph, metadata
from tests.export.conftest import write_bundle
from tests.faults.fuzz import environments, trees
from torch_ref.convert import to_pth
from torch_ref.optimizer import Training, fresh, write_training
from torch_ref.original import settings
from torch_ref.weights import build_model, save_bundle, to_jax

_CSV = b"source,target,split\na.png,b.png,train\nb.png,a.png,val\n"
_JSONL = b'{"source": "a.png", "target": "b.png", "split": "train"}\n{"source": "b.png", "target": "a.png"}\n'


@dataclass(frozen=True)
class Material:
    """Whole inputs by door, and the folder that they and what they name lie in."""

    folder: Path
    files: dict[str, list[bytes]]
    config: dict[str, Any]
    metadata: dict[str, str]


def make_material(folder: Path) -> Material:
    """Write what inputs refer to into the folder, and give an example or more for each door."""
    (folder / "data" / "sub").mkdir(parents=True)
    for name in ("a.png", "b.png"):
        Image.fromarray(_scene(24)).save(folder / "data" / name)
    (folder / "data" / "sub" / "link.png").symlink_to("/etc/hostname")
    config = json.loads(to_json(PRESETS["tiny"]()))
    held = metadata()
    files = {
        "picture": _pictures(),
        "csv": [
            b"source,target,split\na.png,b.png,train\nb.png,a.png,val\n",
            b"\xef\xbb\xbfsource,target\na.png,b.png\n",
            b"sep=;\r\nsource;target\r\n.\\a.png;B.PNG\r\n",
            "source\ttarget\n.\\a.png\tb.png\n".encode("utf-16"),
        ],
        "jsonl": [
            b'{"source": "a.png", "target": "b.png", "split": "train"}\n{"source": "b.png", "target": "a.png"}\n',
            b'[{"source": "a.png", "target": ".\\\\b.png"}, {"source": "b.png", "target": "a.png"}]',
        ],
        "tree": [json.dumps(trees.WHOLE).encode()],
        "environment": [environments.WHOLE],
        "sums": [_artifact_folder(folder / "sums")],
        "networks": [_networks(folder / "networks")],
        "config": [json.dumps(config, indent=2).encode(), to_json(Config()).encode()],
        "bundle": _bundles(folder),
        "optimizer": [_optimizer(folder)],
        "onnx": [sealed(folder, held)],
        "pth": _checkpoints(folder),
    }
    (folder / "model.onnx").write_bytes(files["onnx"][0])
    (folder / "model.safetensors").write_bytes(files["bundle"][0])
    (folder / "data" / "whole.csv").write_bytes(files["csv"][0])
    environments.start(folder)
    return Material(folder, files, config, held)


def sealed(folder: Path, entries: dict[str, str]) -> bytes:
    """A model file with these metadata."""
    model = graph()
    helper.set_model_props(model, entries)
    path = folder / "being-sealed.onnx"
    path.write_bytes(model.SerializeToString())
    seal(path)
    return path.read_bytes()


def bundled(tensors: dict[str, np.ndarray], config: str) -> bytes:
    """A bundle whose digests fit, whatever its config says."""
    return ordered(save(tensors, bundle_metadata(tensors, config)))


def ordered(data: bytes) -> bytes:
    """A safetensors file with the entries of its header in order: the library's differs from one process to another."""
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def _scene(size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return np.stack([x * 9 % 256, y * 9 % 256, (x * y) % 256], -1).astype(np.uint8)


def _pictures() -> list[bytes]:
    image = Image.fromarray(_scene(20))
    exif = Image.Exif()
    exif[0x112], exif[0x10F] = 6, "maker"
    deep = Image.fromarray((np.arange(400).reshape(20, 20) * 160).astype(np.uint16))
    float_ = Image.fromarray(np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20))
    profile = b"\0" * 16 + b"RGB " + b"\0" * 16 + b"acsp" + b"\0" * 100
    frames: dict[str, Any] = {"save_all": True, "append_images": [image.rotate(90)]}
    kinds: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (image, "JPEG", {"exif": exif.tobytes(), "icc_profile": profile}),
        (image, "JPEG", {"progressive": True}),
        (image.convert("CMYK"), "JPEG", {}),
        (image.convert("L"), "JPEG", {}),
        (image, "PNG", {"exif": exif.tobytes(), "icc_profile": profile}),
        (image.convert("RGBA"), "PNG", {}),
        (image.convert("P"), "PNG", {"transparency": 1}),
        (image.convert("1"), "PNG", {}),
        (deep, "PNG", {}),
        (image, "PNG", frames),
        (image, "WEBP", {"lossless": True, "exif": exif.tobytes()}),
        (image.convert("RGBA"), "WEBP", {}),
        (image, "WEBP", frames),
        (image, "BMP", {}),
        (image.convert("P"), "BMP", {}),
        *((image, "TIFF", {"compression": how}) for how in ("raw", "tiff_lzw", "tiff_deflate", "jpeg", "packbits")),
        (image.convert("CMYK"), "TIFF", {}),
        (deep, "TIFF", {}),
        (float_, "TIFF", {"compression": "tiff_deflate"}),
        (image.convert("P"), "GIF", frames),
        (image, "PPM", {}),
        (image.convert("1"), "PPM", {}),
        *((image, kind, {"quality": 80}) for kind in map(decoder, ("AVIF", "HEIC")) if kind is not None),
    ]
    found = []
    for picture, kind, options in kinds:
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        found.append(buffer.getvalue())
    return [*found, found[0][:-2], b"P3\n2 2\n255\n1 2 3 4 5 6 7 8 9 10 11 12\n", b"P5\n2 2\n1000\n" + bytes(8)]


def _artifact_folder(folder: Path) -> bytes:
    folder.mkdir()
    for name in ("config.json", "README.md", "sampler_config.json"):
        (folder / name).write_text(name)
    names = sorted(path.name for path in folder.iterdir())
    return "".join(f"{sha256_file(folder / name)}  {name}\n" for name in names).encode()


def _networks(folder: Path) -> bytes:
    folder.mkdir()
    write_networks(folder, {"denoiser": dict(VARIANTS), "mean": {"fp32": Variant("mean.onnx", 40.0, "its mean")}})
    return (folder / NETWORKS_FILE).read_bytes()


def _bundles(folder: Path) -> list[bytes]:
    return [ordered(write_bundle(folder / f"{kind}.safetensors", kind).read_bytes()) for kind in ("unet", "seed")]


def _original() -> tuple[dict[str, Any], np.ndarray, dict[str, torch.Tensor]]:
    config, alphas_cumprod = settings()
    config["model"] |= {"width": 2}
    torch.manual_seed(0)
    return config, alphas_cumprod, build_model(config).state_dict()


def _optimizer(folder: Path) -> bytes:
    config, alphas_cumprod, state = _original()
    bundle = folder / "original.safetensors"
    digest = save_bundle(bundle, state, alphas_cumprod, config)
    tensors = {k: v for k, v in to_jax(state, config).items() if k.rpartition(".")[2] not in ("mean", "var")}
    facts = {
        "step": 3,
        "epoch": 1,
        "loss": 0.5,
        "learning_rate": 1e-4,
        "initial_learning_rate": 1e-4,
        "weight_decay": 0.01,
        "betas": [0.9, 0.999],
        "eps": 1e-8,
        "schedule": "step",
        "decay_epochs": 100,
        "decay_factor": 0.5,
    }
    path = folder / "optimizer.safetensors"
    write_training(path, Training(tensors, {k: abs(v) for k, v in tensors.items()}, facts, digest))
    return ordered(path.read_bytes())


def _checkpoints(folder: Path) -> list[bytes]:
    _, _, state = _original()
    to_pth(folder / "original.safetensors", folder / "whole.pth", folder / "optimizer.safetensors")
    old = io.BytesIO()
    held = {"model_state_dict": state, **fresh(10, settings()[0]["optim"])}
    torch.save(held, old, _use_new_zipfile_serialization=False)
    return [(folder / "whole.pth").read_bytes(), old.getvalue()]
