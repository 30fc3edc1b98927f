"""Architectures of the papers, robust training, and the model zoo."""
