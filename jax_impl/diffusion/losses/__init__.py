"""Loss terms: one file each, entries of `jax_impl.diffusion.losses.registry.LOSSES`."""
