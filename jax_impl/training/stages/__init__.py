"""The stages of a run: what each one trains, and the registry that names them."""
