"""Noise schedule, forward process, losses and samplers."""
