"""Download and conversion of published teachers."""
