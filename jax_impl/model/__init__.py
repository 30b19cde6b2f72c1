"""Networks: the seed U-Net and the residual family."""
