"""Real certificates for tests: a CA, a server's and a client's, made with the machine's openssl."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """Paths of a certificate and its key."""

    cert: Path
    key: Path


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def make_ca(folder: Path, name: str) -> Certificate:
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    _openssl(
        "req", "-x509", *_NEW_KEY, "-days", "2", "-subj", f"/CN={name}",
        "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign",
        "-keyout", str(made.key), "-out", str(made.cert),
    )  # fmt: skip
    return made


def make_certificate(folder: Path, name: str, ca: Certificate) -> Certificate:
    """Make a certificate that the CA signed, for 127.0.0.1 and localhost."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    request = folder / f"{name}.csr"
    extensions = folder / f"{name}.ext"
    extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    _openssl("req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", str(made.key), "-out", str(request))
    _openssl(
        "x509", "-req", "-in", str(request), "-CA", str(ca.cert), "-CAkey", str(ca.key), "-days", "2",
        "-set_serial", str(abs(hash(name)) % 10**9 + 1), "-extfile", str(extensions), "-out", str(made.cert),
    )  # fmt: skip
    return made


def client_context(ca: Certificate, own: Certificate | None = None) -> ssl.SSLContext:
    """Trust the CA, and show a certificate of one's own where there is one."""
    context = ssl.create_default_context(cafile=str(ca.cert))
    if own is not None:
        context.load_cert_chain(own.cert, own.key)
    return context
