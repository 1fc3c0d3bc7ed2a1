"""Image sets and their readers."""
