"""Access: tokens of people and registration tokens of clusters."""
