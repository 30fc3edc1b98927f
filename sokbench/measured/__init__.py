"""Recorded rows the way people read them: statuses, cells, and the names of settings; shared by tables and pages."""
