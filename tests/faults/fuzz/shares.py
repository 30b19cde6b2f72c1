"""How a campaign's inputs are divided among the doors: mostly to those that are cheap and take files of others."""

SHARES = {
    "picture": 22,
    "csv": 9,
    "jsonl": 8,
    "tree": 5,
    "sums": 4,
    "networks": 3,
    "config": 10,
    "bundle": 10,
    "optimizer": 3,
    "onnx": 13,
    "pth": 4,
    "export.edge": 2,
    "jax_impl.train": 1,
    "jax_impl.sample": 1,
    "jax_impl.bundle": 1,
    "jax_impl.evaluate": 1,
    "jax_impl.doctor": 1,
    "export.to_onnx": 1,
    "export.verify": 1,
    "torch_ref.convert": 1,
}
