"""How the certificates of the manager and of the API server are checked.

Rule: with the pinned CA of the manager's own, names and signatures count and dates do not. A
machine whose clock stands in 1970 or in 2050 must reach its manager to learn the time
(docs/rfd/0002-clocks.md); whoever holds the CA's key could date a certificate at will anyway. With
a public CA, where a name that was sold or revoked is what dates protect from, they count.
"""

from __future__ import annotations

import ssl

_NO_CHECK_TIME = 0x200000  # OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python does not name


def context(ca_pem: str) -> ssl.SSLContext:
    """`ca_pem` "" means the machine's public CAs."""
    result = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_pem:
        result.load_verify_locations(cadata=ca_pem)
        without_dates(result)
    else:
        result.load_default_certs()
    return result


def without_dates(result: ssl.SSLContext) -> None:
    """After all other flags: Python forgets one that it does not name when it takes another
    away.
    """
    result.verify_flags |= _NO_CHECK_TIME
