"""The manager: follows Git repositories, decides what each cluster gets and when, and serves it."""
