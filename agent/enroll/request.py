"""Joining a manager: done once, by `fleet-agent enrol`."""

from __future__ import annotations

import asyncio

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetctl.core.model import wire

from ..controlplane import tls
from ..controlplane.http import httpx
from ..controlplane.identity import Identity
from ..controlplane.pinned_ca import fetch_ca
from ..controlplane.responses import Answer, away, in_the_way, problem

_SECONDS = 30.0


async def enrol(
    url: str, ca_pin: str, token: str, key: Ed25519PrivateKey, version: str
) -> Identity:
    """Join the manager at `url`. With a pin its CA is fetched and checked against it. Raises
    LoginError, TryLater, RefusedError.
    """
    ca_pem = await fetch_ca(url, ca_pin) if ca_pin else ""
    public = wire.b64(key.public_key().public_bytes_raw())
    proof = wire.b64(key.sign(wire.enrol_bytes(token, public)))
    request = wire.EnrolRequest(token=token, public_key=public, proof=proof, agent_version=version)
    try:
        async with (
            asyncio.timeout(_SECONDS),
            httpx.AsyncClient(verify=tls.context(ca_pem), timeout=_SECONDS) as client,
        ):
            answer = await client.post(
                f"{url}/agent/v1/enrol", content=msgspec.json.encode(request)
            )
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        raise away(error) from error
    if answer.status_code != 200:
        raise problem(Answer(answer.status_code, answer.headers, answer.content))
    try:
        enrolment = msgspec.json.decode(answer.content, type=wire.EnrolAnswer)
        keys = {
            k.id: k.public_key
            for k in enrolment.keys
            if wire.key_id(wire.unb64(k.public_key)) == k.id
        }
    except (msgspec.DecodeError, ValueError) as error:
        raise in_the_way(answer.status_code, answer.headers) from error
    return Identity(
        url=url,
        ca_pem=ca_pem,
        cluster_id=enrolment.cluster_id,
        cluster=enrolment.cluster,
        workspace=enrolment.workspace,
        keys=keys,
    )
