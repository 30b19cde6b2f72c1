"""Pairs of pictures on disk, built-in scenes, batches and augmentation."""
