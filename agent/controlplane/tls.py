"""How the certificates of the manager and of the API server are checked.

Rule: with the pinned CA of the manager's own, names and signatures count and dates do not. A
machine whose clock stands in 1970 or in 2050 must reach its manager to learn the time
(docs/rfd/0002-clocks.md); whoever holds the CA's key could date a certificate at will anyway. With
a public CA, where a name that was sold or revoked is what dates protect from, they count.
"""

from __future__ import annotations

import ssl
import time

RESUME_SECONDS = 7200
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


def resume_sessions(result: ssl.SSLContext) -> None:
    """Let the connections of this context resume the TLS session of the last one to the same host:
    without certificates on the wire, and with less work for both sides. Only a server whose
    certificate was verified at most `RESUME_SECONDS` ago has the secret of such a session; any
    other must show its certificate.
    """
    connections: dict[str, ssl.SSLObject] = {}  # host name -> the last one that was verified

    class ResumingConnection(ssl.SSLObject):
        def do_handshake(self) -> None:
            host = self.server_hostname or ""
            last = connections.get(host)
            if last is not None and last is not self and self.version() is None:
                session = last.session
                if session is not None and _is_recent(session):
                    self.session = session
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError:
                connections.pop(host, None)
                raise
            connections[host] = self  # its tickets come later, with the first answer

    result.sslobject_class = ResumingConnection


def _is_recent(session: ssl.SSLSession) -> bool:
    return session.has_ticket and 0 <= time.time() - session.time <= RESUME_SECONDS
