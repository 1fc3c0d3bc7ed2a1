"""Figures for a page and for a paper."""
