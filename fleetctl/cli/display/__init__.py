"""Everything that is printed: tables, columns, colours, progress and the texts of a plan."""
