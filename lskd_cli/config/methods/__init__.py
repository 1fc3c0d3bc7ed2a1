"""Hyper-parameters of distillation methods, and their registry."""
