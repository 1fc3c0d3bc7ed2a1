"""Run folders and saved states."""
