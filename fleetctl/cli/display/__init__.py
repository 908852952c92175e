"""Output: tables, columns, colours, progress and the texts of a plan."""
