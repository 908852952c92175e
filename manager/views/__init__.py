"""Views for people: the objects of the API with their status, and numbers of the whole fleet."""
