"""Files: atomic writes, locks, downloads, and text that is safe to print."""
