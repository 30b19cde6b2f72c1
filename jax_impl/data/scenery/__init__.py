"""The effects that the built-in scenes are painted with: noise, air, clouds, land, water, silhouettes, film."""
