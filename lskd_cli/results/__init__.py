"""Reading of run folders, and tables, statistics, figures and the report from them."""
