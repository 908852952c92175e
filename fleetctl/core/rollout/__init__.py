"""Which clusters may change now: partitions, budgets, schedules, and the limit on removals."""
