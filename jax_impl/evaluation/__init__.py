"""Scoring: what is scored, by which figures, beside which baselines, and the report."""
