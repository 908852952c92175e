"""Charts from repositories, registries and Git, with their dependencies."""
