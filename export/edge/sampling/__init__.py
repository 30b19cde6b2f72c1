"""From noise to a picture: timesteps, coefficients, noise and the loop."""
