"""The contract every method keeps, as checks that say in plain words what fails and how to see it.

`check(method)` is what `sokbench check-method file.py` and the tests run, on the project's methods and on anyone's.
"""

from __future__ import annotations

from .checks import check
from .report import Finding, Report

__all__ = ["Finding", "Report", "check"]
