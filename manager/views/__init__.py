"""What people see: the objects of the API with their status, and the whole fleet in numbers."""
