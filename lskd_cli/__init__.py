"""lskd: knowledge distillation with and without logit standardization."""

__version__ = "0.1.0"
