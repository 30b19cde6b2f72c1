"""What an accelerator does with this software, measured by one command: see `tests.figures.accelerator.__main__`."""
