"""Commands that work on a repository without a manager."""
