"""A campaign of faults, which ``make test-faults`` runs; its figures are in docs/reliability.md."""
