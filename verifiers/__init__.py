"""Deterministic methods, one file per method, in folders by the SoK taxonomy."""
