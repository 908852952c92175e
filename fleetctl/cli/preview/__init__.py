"""Previews of a repository: the code of the commands that need no manager."""
