"""TLS of the listener: the server's certificate, and client certificates where the operator asks for them."""

from __future__ import annotations

import ssl

from flamewire_server.config import Config
from flamewire_server.errors import ConfigError

__all__ = ["make_ssl_context"]


def make_ssl_context(config: Config) -> ssl.SSLContext | None:
    """Make the context of the listener, None where it speaks plain HTTP.

    TLS 1.2 or newer. With a CA for clients, nobody connects without a certificate that it signed.

    Raises:
        ConfigError: a file cannot be read, is no certificate, or the key is another certificate's.
    """
    if config.tls_cert_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        context.load_cert_chain(config.tls_cert_file, config.tls_key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"server.http_tls_config: {config.tls_cert_file} with the key {config.tls_key_file} cannot be"
            f" used: {error.strerror or error}"
        ) from error
    if config.tls_client_ca_file is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(config.tls_client_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"server.http_tls_config.client_ca_file: {config.tls_client_ca_file} cannot be used:"
                f" {error.strerror or error}"
            ) from error
    return context
