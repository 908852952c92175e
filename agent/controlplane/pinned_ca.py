"""Fetches the manager's CA over a connection that is not verified yet, and compares it with the pin
from the registration token.
"""

from __future__ import annotations

import asyncio
import hashlib

from fleetctl.core.model.errors import RefusedError

from .http import httpx
from .responses import away

_SECONDS = 30.0


async def fetch_ca(url: str, pin: str) -> str:
    """The CA that the pin names; what came over an unverified connection is used only when its hash
    is the pin.
    """
    # Only enrolment needs these, and a running agent should not hold them.
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        async with (
            asyncio.timeout(_SECONDS),
            httpx.AsyncClient(verify=False, timeout=_SECONDS) as client,
        ):
            answer = await client.get(f"{url}/install/ca.pem")
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        raise away(error) from error
    try:
        for certificate in x509.load_pem_x509_certificates(answer.content):
            if (
                hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
                == pin.removeprefix("sha256:").lower()
            ):
                return certificate.public_bytes(Encoding.PEM).decode()
    except ValueError:
        pass
    step = "Compare the address and --ca-pin with the output of `fleetctl cluster register`."
    raise RefusedError(
        f"the manager at {url} is not the one that the CA pin names",
        subject="--ca-pin",
        next_step=step,
    )
