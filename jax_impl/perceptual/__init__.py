"""Networks that others have trained, to look at pictures with: what `evaluate` and the loss terms share."""
