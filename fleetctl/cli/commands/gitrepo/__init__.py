"""`fleetctl gitrepo`."""
