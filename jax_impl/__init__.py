"""Train and sample paired image-to-image diffusion models in JAX."""
