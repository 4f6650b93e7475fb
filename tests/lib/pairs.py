# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests, made on the spot."""

import subprocess


def certificate(folder, name="localhost", days="2"):
    """(certificate, key) of a pair that signs itself, for 127.0.0.1."""
    cert, key = folder / f"{name}.crt", folder / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert, "-days", days, "-subj", f"/CN={name}",
                    "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"], check=True, capture_output=True)
    return cert, key
