"""What bundles have been and what each cluster was told, and going back."""
