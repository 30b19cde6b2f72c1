"""Settings: the tree, its checks, presets, JSON and command lines."""
