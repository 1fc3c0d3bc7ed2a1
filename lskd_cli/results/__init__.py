"""Run folders in, tables and pages out."""
