"""Output on a terminal: messages, progress and tables."""
