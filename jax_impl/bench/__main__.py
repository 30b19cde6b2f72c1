"""`python -m jax_impl.bench`: see `jax_impl.bench.training`."""

from __future__ import annotations

from jax_impl.bench.training import cli

if __name__ == "__main__":
    cli()
