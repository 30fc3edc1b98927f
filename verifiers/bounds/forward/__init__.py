"""Bounds carried forward from the input, and what ends a network: affine operations after the last nonlinear one."""
