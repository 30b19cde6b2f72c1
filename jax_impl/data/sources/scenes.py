"""The built-in scenes as a source: rendered at the size that is asked for."""

from __future__ import annotations

from jax_impl.config.data import SYNTHETIC, DataConfig
from jax_impl.data.pairs import Pair
from jax_impl.data.sources.source import Source
from jax_impl.data.splits import SPLITS
from jax_impl.data.synthetic import render_pair, scene_seed


class SceneLayout:
    """Recognised by data.path `synthetic`."""

    def recognises(self, config: DataConfig) -> bool:
        """Whether the settings name the built-in scenes."""
        return config.path == SYNTHETIC and not config.tfds

    def open(self, config: DataConfig) -> Source:
        """`synthetic_pairs` scenes for training, `synthetic_val_pairs` for each other split, sunrise to sunset."""
        splits = {}
        for split in SPLITS:
            count = config.synthetic_pairs if split == "train" else config.synthetic_val_pairs
            splits[split] = tuple(Pair(f"{split}_{i:05d}", split, key=scene_seed(split, i)) for i in range(count))
        return Source(
            "scenes",
            SYNTHETIC,
            splits,
            rendered=True,
            origin="scenes",
            read=lambda pair: render_pair(pair.key, config.size),
        )
