"""Does Modbus over TLS believe only the right device, show our certificate, and say in a sentence what was refused?"""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_tap_command import running

from control.commands.tap import _tap
from firmware_bridge.errors import BridgeError, TransportError
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.recording import Way, read_recording
from firmware_bridge.transport import open_transport
from firmware_bridge.transport_tcp import connect
from firmware_bridge.transport_tls import TlsTransport, refusal
from hil_sim.virtual_run import run_virtual

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]


def openssl(folder: Path, *words: str) -> None:
    done = subprocess.run(["openssl", *words], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def authority(folder: Path, name: str) -> None:
    openssl(
        folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem",
        "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign",
    )  # fmt: skip


def certificate(folder: Path, name: str, by: str, alternative: str) -> None:
    openssl(
        folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
        "-keyout", f"{name}.key", "-out", f"{name}.csr",
    )  # fmt: skip
    (folder / f"{name}.ext").write_text(
        f"subjectAltName={alternative}\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n"
    )
    openssl(
        folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial",
        "-days", "2", "-out", f"{name}.pem", "-extfile", f"{name}.ext",
    )  # fmt: skip


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities; a device and a host certified by the first, a stranger by the second. Thrown away afterwards."""
    folder = tmp_path_factory.mktemp("keys")
    authority(folder, "plant")
    authority(folder, "elsewhere")
    certificate(folder, "device", "plant", "IP:127.0.0.1,DNS:kiln-head")
    certificate(folder, "host", "plant", "DNS:host")
    certificate(folder, "stranger", "elsewhere", "DNS:stranger")
    return folder


async def serve_modbus(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Register n of every unit holds 1000 + n; one request after the other until the peer goes."""
    try:
        while True:
            header = await reader.readexactly(7)
            pdu = await reader.readexactly(int.from_bytes(header[4:6], "big") - 1)
            address, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
            words = b"".join((1000 + address + i).to_bytes(2, "big") for i in range(count))
            reply = bytes((pdu[0], 2 * count)) + words
            writer.write(header[:4] + (len(reply) + 1).to_bytes(2, "big") + header[6:7] + reply)
            await writer.drain()
    except (asyncio.IncompleteReadError, OSError):
        pass
    finally:
        writer.close()


@asynccontextmanager
async def device(
    keys: Path, *, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, tls: bool = True
) -> AsyncIterator[int]:
    """A Modbus/TCP Security server that demands a client certificate of the plant's authority; yields its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = newest
    context.load_cert_chain(keys / "device.pem", keys / "device.key")
    context.load_verify_locations(keys / "plant.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    server = await asyncio.start_server(serve_modbus, "127.0.0.1", 0, ssl=context if tls else None)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def url(keys: Path, port: int, ca: str = "plant", who: str = "host", host: str = "127.0.0.1", more: str = "") -> str:
    files = f"ca={keys}/{ca}.pem&cert={keys}/{who}.pem&key={keys}/{who}.key"
    return f"tls:{host}:{port}?{files}{more}"


async def read_once(address: str) -> list[int]:
    link = await ModbusLink.open(address, framing="tcp", timeout_s=2.0)
    try:
        return await link.read(1, 3, 7, 2)
    finally:
        link.close()


VERSIONS = pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda v: v.name)


@VERSIONS
def test_registers_are_read_with_certificates_on_both_sides(keys: Path, newest: ssl.TLSVersion) -> None:
    async def main() -> None:
        async with device(keys, newest=newest) as port:
            assert await read_once(url(keys, port)) == [1007, 1008]
            assert await read_once(url(keys, port, more="&name=kiln-head")) == [1007, 1008]

    asyncio.run(main())


def test_a_tap_stands_before_a_tls_device_and_its_record_plays(keys: Path, tmp_path: Path, capsys) -> None:
    """Hosts speak plain TCP to the stand-in, which is on this computer alone; the device hears our certificate."""

    async def tapped(command: Any) -> None:
        async with running(command, capsys) as tap:
            assert tap.url.startswith("tcp:127.0.0.1:")
            assert await read_once(tap.url) == [1007, 1008]
            assert await tap.end() == 0

    async def main() -> None:
        async with device(keys) as port:
            await tapped(_tap(url(keys, port), tmp_path / "wire.mcap", None, None))
        (connection,) = read_recording(tmp_path / "wire.mcap").connections
        assert len(connection.sent(Way.TO_DEVICE)) == 12, "one request, as it was before it was enciphered"
        assert await read_once(f"replay:{tmp_path}/wire.mcap") == [1007, 1008]

    asyncio.run(main())


@VERSIONS
def test_a_device_of_another_authority_is_not_believed(keys: Path, newest: ssl.TLSVersion) -> None:
    async def main() -> None:
        async with device(keys, newest=newest) as port:
            with pytest.raises(TransportError, match=r"device's certificate is not accepted.*ca= the authority"):
                await read_once(url(keys, port, ca="elsewhere"))

    asyncio.run(main())


def test_a_device_with_another_name_is_not_believed(keys: Path) -> None:
    async def main() -> None:
        async with device(keys) as port:
            with pytest.raises(TransportError, match=r"not accepted.*name="):
                await read_once(url(keys, port, more="&name=someone-else"))

    asyncio.run(main())


@contextmanager
def openssl_server(keys: Path, version: str) -> Iterator[int]:
    """OpenSSL's own server, which demands a certificate of the plant's authority; yields its port."""
    server = subprocess.Popen(
        ["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", "device.pem", "-key", "device.key",
         "-CAfile", "plant.pem", "-Verify", "2", "-verify_return_error", version],
        cwd=keys, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        for line in server.stdout:
            if line.startswith("ACCEPT"):
                yield int(line.rpartition(":")[2])
                return
        raise AssertionError("openssl s_server has not begun to listen")
    finally:
        server.kill()
        server.communicate()


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_device_that_does_not_accept_our_certificate_is_a_sentence(keys: Path, version: str) -> None:
    """TLS 1.3 tells it after the handshake: the first request then ends with the same sentence."""
    with (
        openssl_server(keys, version) as port,
        pytest.raises(TransportError, match=r"does not accept our certificate .*Is it signed by an authority it knows"),
    ):
        asyncio.run(read_once(url(keys, port, who="stranger")))


@VERSIONS
def test_a_device_that_hangs_up_on_our_certificate_is_a_sentence(keys: Path, newest: ssl.TLSVersion) -> None:
    async def main() -> None:
        async with device(keys, newest=newest) as port:
            with pytest.raises(TransportError, match="accept our certificate"):
                await read_once(url(keys, port, who="stranger"))

    asyncio.run(main())


class Ear:
    """Hears how a connection ends."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        raise AssertionError("nobody was let in")

    def connection_lost(self, error: TransportError | None) -> None:
        self.lost.set_result(error)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_what_a_device_says_to_a_client_without_a_certificate_is_a_sentence(keys: Path, version: str) -> None:
    """Ours never is one, since a URL without cert= is refused; put into words all the same."""

    async def main(port: int) -> str:
        context = ssl.create_default_context(cafile=str(keys / "plant.pem"))
        ear = Ear()
        try:
            await connect(TlsTransport("tls:x", ear), "127.0.0.1", port, 5.0, ssl=context, server_hostname="127.0.0.1")
        except ssl.SSLError as error:
            return refusal(error)
        return str(await asyncio.wait_for(ear.lost, 5.0))

    with openssl_server(keys, version) as port:
        assert "the device wants a certificate that we do not have" in asyncio.run(main(port))


@pytest.mark.parametrize("word", ["ca", "cert", "key"])
def test_a_missing_word_is_named_before_anything_is_sent(keys: Path, word: str) -> None:
    async def main() -> None:
        address = url(keys, 1)
        kept = [part for part in address.partition("?")[2].split("&") if not part.startswith(f"{word}=")]
        with pytest.raises(TransportError, match=f"'{word}' is missing. Both sides"):
            await read_once(f"tls:127.0.0.1:1?{'&'.join(kept)}")

    asyncio.run(main())


def test_files_that_are_no_keys_are_named(keys: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing.pem").write_text("no certificate at all\n")
    cases = {
        f"ca={tmp_path}/nothing.pem&cert={keys}/host.pem&key={keys}/host.key": "holds no certificate in PEM form",
        f"ca={keys}/plant.pem&cert={keys}/host.pem&key={keys}/device.key": "no certificate with its own private key",
        f"ca={keys}/plant.pem&cert={keys}/gone.pem&key={keys}/host.key": "cert=.*gone.pem is no file",
        f"ca={keys}/plant.pem&cret={keys}/host.pem": "'cret' is no option",
    }

    async def main() -> None:
        for words, sentence in cases.items():
            with pytest.raises(TransportError, match=sentence):
                await read_once(f"tls:127.0.0.1:1?{words}")

    asyncio.run(main())


def test_a_key_with_a_password_is_refused_and_never_asked_for(keys: Path, tmp_path: Path) -> None:
    openssl(tmp_path, "ec", "-in", str(keys / "host.key"), "-aes256", "-passout", "pass:secret", "-out", "locked.key")

    async def main() -> None:
        with pytest.raises(TransportError, match="the key has a password"):
            await read_once(f"tls:127.0.0.1:1?ca={keys}/plant.pem&cert={keys}/host.pem&key={tmp_path}/locked.key")

    asyncio.run(main())


def test_a_device_without_tls_and_one_that_is_absent_are_sentences(keys: Path) -> None:
    async def main() -> None:
        async with device(keys, tls=False) as port:
            link = ModbusLink("tcp")
            with pytest.raises(TransportError, match=r"TLS|no answer"):
                await open_transport(url(keys, port), link, timeout_s=1.0)
        with pytest.raises(TransportError, match="refuses port"):
            await read_once(url(keys, port))

    asyncio.run(main())


def test_the_port_is_modbus_own_unless_another_is_given(keys: Path) -> None:
    async def main() -> None:
        with pytest.raises(BridgeError, match="port 802"):
            await read_once(url(keys, 802).replace(":802?", "?"))
        with pytest.raises(TransportError, match="give HOST:PORT"):
            await read_once(url(keys, 0))

    asyncio.run(main())


def test_virtual_time_has_no_tls(keys: Path) -> None:
    async def main(_loop: object) -> None:
        with pytest.raises(TransportError, match="virtual time has none"):
            await read_once(url(keys, 802))

    run_virtual(main)
