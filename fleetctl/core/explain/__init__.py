"""Why a deployment is not Ready, and what comes next: the answer to `fleetctl why`."""
