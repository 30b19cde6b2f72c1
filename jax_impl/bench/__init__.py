"""Timing of training and of loading."""
