"""The search of ``lskd tune``."""
