"""Kinds and shapes of arrays in signatures, as jaxtyping writes them: `Float[Array, "batch height width 3"]`.

The test suite checks them in every call (tests/conftest.py). Elsewhere nothing reads them, so that the programs run
where jaxtyping is not installed: its names then stand for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int, Key, UInt8
else:
    try:
        from jaxtyping import Array, Bool, Float, Int, Key, UInt8
    except ImportError:

        class Array:
            """What stands for each of the names; it may be indexed."""

            def __class_getitem__(cls, shape: object) -> type:
                """The same for any shape."""
                return cls

        Bool = Float = Int = Key = UInt8 = Array

Features = Float[Array, "batch height width channels"]
Pictures = Float[Array, "batch height width 3"]
Cond = Float[Array, "batch height width cond_channels"]
"""The guiding pictures, with or without each pixel's place."""
Timesteps = Int[Array, " batch"]
RandomKey = Key[Array, ""]

__all__ = [
    "Array", "Bool", "Cond", "Features", "Float", "Int", "Key", "Pictures", "RandomKey", "Timesteps", "UInt8",
]  # fmt: skip
