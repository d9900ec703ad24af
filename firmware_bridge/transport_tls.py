"""`tls:HOST:PORT?ca=CA.pem&cert=OURS.pem&key=OURS.key`: TCP inside TLS 1.2 or newer, both sides showing a certificate.

Port 802 is Modbus' own. The device's certificate must be signed by the authority in `ca` and be for HOST, or for the
word `name` where the device is reached by another name. A private key with a password is not taken: nobody is there to
type it.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from firmware_bridge.errors import BadAddress, TransportError
from firmware_bridge.transport import Receiver, running_in_virtual_time, split_options
from firmware_bridge.transport_tcp import TcpTransport, connect, split_address

MODBUS_TLS_PORT = 802
_OPTIONS = {"ca": "", "cert": "", "key": "", "name": ""}


async def open_tls(url: str, receiver: Receiver, timeout_s: float) -> TcpTransport:
    """Connect and shake hands. Raises TransportError: as `tcp:`, and for a certificate that a side does not accept."""
    target, options = split_options(url, _OPTIONS)
    host, port = split_address(url, target, default_port=MODBUS_TLS_PORT)
    if running_in_virtual_time():
        raise TransportError(f"{url}: TLS needs a real connection; virtual time has none. Use a sim: URL there.")
    context = client_context(url, options["ca"], options["cert"], options["key"])
    connection = TlsTransport(url, receiver)
    try:
        await connect(
            connection, host, port, timeout_s, ssl=context, server_hostname=options["name"] or host,
            ssl_handshake_timeout=timeout_s,
        )  # fmt: skip
    except ssl.SSLError as error:
        raise TransportError(f"{url}: {refusal(error)}") from error
    except ConnectionError as error:  # TLS 1.2: a server that wants a certificate may just hang up
        raise TransportError(
            f"{url}: the device broke off the TLS handshake ({error}). Does it speak TLS on this port, and does it "
            "accept our certificate?"
        ) from error
    return connection


def client_context(url: str, ca: str, cert: str, key: str) -> ssl.SSLContext:
    """What we show and whom we believe. BadAddress for a file that is missing, unreadable, or no such thing."""
    for word, path in (("ca", ca), ("cert", cert), ("key", key)):
        if not path:
            raise BadAddress(
                f"{url}: '{word}' is missing. Both sides of a tls: connection show a certificate: give the authority's "
                "file as ca=, ours as cert= and its private key as key=."
            )
        if not Path(path).is_file():
            raise BadAddress(f"{url}: {word}={path} is no file that can be read here.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=ca)
    except (ssl.SSLError, OSError) as error:
        raise BadAddress(f"{url}: ca={ca} holds no certificate in PEM form ({_words(error)}).") from error
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise BadAddress(
            f"{url}: cert={cert} and key={key} are no certificate with its own private key ({_words(error)})."
        ) from error
    return context


def _no_password() -> str:
    raise ValueError("the key has a password; store it without one, readable by this user alone")


def refusal(error: ssl.SSLError) -> str:
    """A TLS error in words that say which side refuses what, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the device's certificate is not accepted: {error.verify_message}. Is ca= the authority that signed it, "
            "and is it for this name (name=)? Somebody else may be answering."
        )
    reason = error.reason or str(error)
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
        return f"the device wants a certificate that we do not have ({_words(error)}). Check cert= and key=."
    if "CERT" in reason or "UNKNOWN_CA" in reason or "ACCESS_DENIED" in reason:
        return f"the device does not accept our certificate ({_words(error)}). Is it signed by an authority it knows?"
    return f"the TLS handshake failed ({_words(error)}). Does the device speak TLS 1.2 or newer on this port?"


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return str(error)


class TlsTransport(TcpTransport):
    """A TCP transport whose device may refuse us after the handshake: TLS 1.3 servers look at our certificate last."""

    def __init__(self, url: str, receiver: Receiver) -> None:
        super().__init__(url, receiver)
        self._heard_anything = False

    def got(self, data: bytes) -> None:
        self._heard_anything = True
        super().got(data)

    def lost(self, error: Exception | None) -> None:
        if isinstance(error, ssl.SSLError):
            self._finish(TransportError(f"{self.url}: {refusal(error)}"))
        elif not self._heard_anything:
            self._finish(
                TransportError(
                    f"{self.url}: the device hung up after the TLS handshake, without a word. It probably does not "
                    "accept our certificate; look at its log."
                )
            )
        else:
            super().lost(error)
