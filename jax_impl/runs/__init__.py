"""What a run leaves: its folder and the weights that are published from it."""
