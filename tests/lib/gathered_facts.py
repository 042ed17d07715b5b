# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What private_key_info returns of hosts, made up: for tests of the audit and for its benchmark."""

from __future__ import annotations

import base64
import datetime
import hashlib
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NOW = datetime.datetime(2026, 11, 22, 8, 0, 0, tzinfo=datetime.timezone.utc)
_FORM = "%Y-%m-%dT%H:%M:%SZ"
_ALL = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
_ALL += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
_NAMES = dict(
    zip(
        ("digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment", "keyAgreement", "keyCertSign"),
        _ALL,
    )
)


def key_id_of(key: object) -> str:
    """The key ID of a cryptography private key."""
    return hashlib.sha256(spki(key)).hexdigest()


def canonical_key_id(content: bytes) -> str:
    """The key ID of the public key in the DER of a certificate or request."""
    try:
        return key_id_of(x509.load_der_x509_certificate(content))
    except ValueError:
        return key_id_of(x509.load_der_x509_csr(content))


def spki(key: object) -> bytes:
    """DER SubjectPublicKeyInfo."""
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def pem(key: object) -> str:
    """The public key in PEM."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def new_key() -> ec.EllipticCurvePrivateKey:
    """A new P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def certificate(
    key: object,
    subject: str = "somebody",
    usage: tuple[str, ...] | None = ("digitalSignature",),
    issuer: tuple[str, object] | None = None,
    days: int = 365,
    ca: bool = False,
    start: datetime.datetime = NOW - datetime.timedelta(days=10),
) -> x509.Certificate:
    """A certificate; without an issuer (name and key) the key signs it itself."""
    by, signer = issuer or (subject, key)
    builder = x509.CertificateBuilder().subject_name(_name(subject)).issuer_name(_name(by))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(start).not_valid_after(start + datetime.timedelta(days=days))
    if usage is not None:
        builder = builder.add_extension(_key_usage(usage), critical=True)
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(signer, hashes.SHA256())


def request(key: object, usage: tuple[str, ...] | None = None, subject: str = "somebody") -> object:
    """A certificate request."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(subject))
    if usage is not None:
        builder = builder.add_extension(_key_usage(usage), critical=True)
    return builder.sign(key, hashes.SHA256())


def _key_usage(usage: tuple[str, ...]) -> x509.KeyUsage:
    wanted = {_NAMES[name] for name in usage}
    return x509.KeyUsage(**{name: name in wanted for name in _ALL})


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def der(one: object) -> bytes:
    """Of a certificate or request."""
    return one.public_bytes(serialization.Encoding.DER)


@dataclass
class Host:
    """One host's result, built up."""

    keys: list = field(default_factory=list)
    certificates: list = field(default_factory=list)
    requests: list = field(default_factory=list)
    receipts: list = field(default_factory=list)
    authorized: list = field(default_factory=list)
    public_keys: dict = field(default_factory=dict)

    def key(self, path: str, key: object = None, **changed: object) -> str:
        """A key file; returns its key ID."""
        key = key or new_key()
        row = {
            **{"key": path, "found": True, "part": None, "exists": True, "key_id": key_id_of(key)},
            **{"algorithm": "ec-p256", "usage": None, "container": "pkcs8", "encrypted": False, "public_key": pem(key)},
            **{"mode": "0600", "owner": "root", "group": "root", "modified": NOW.strftime(_FORM), "hard_links": 1},
            "evidence": {"certificates": [], "ssh_uses": [], "receipt": None},
            **{"archivable": False, "refusal": None, "error": None},
        }
        self.keys.append({**row, **changed})
        return row["key_id"]

    def certificate(
        self, path: str, key: object, usage: tuple[str, ...] | None = ("digitalSignature",), **more: object
    ) -> str:
        """A certificate file; returns the key ID."""
        made = more.pop("made", None) or certificate(key, usage=usage, **more)
        self.certificates.append(
            {
                **self._row(path, key, usage, made),
                **{"issuer": made.issuer.rfc4514_string(), "serial": f"{made.serial_number:x}", "self_signed": False},
                **{"not_before": _text(made, "before"), "not_after": _text(made, "after"), "ca": bool(more.get("ca"))},
            }
        )
        return key_id_of(key)

    def request(self, path: str, key: object, usage: tuple[str, ...] | None = None) -> str:
        """A request file; returns the key ID."""
        self.requests.append(self._row(path, key, usage, request(key, usage)))
        return key_id_of(key)

    def _row(self, path: str, key: object, usage: tuple[str, ...] | None, made: object) -> dict:
        data = der(made)
        return {
            **{"paths": [path], "more_paths": 0, "key_id": key_id_of(key), "algorithm": "ec-p256"},
            **{"fingerprint": hashlib.sha256(data).hexdigest(), "subject": made.subject.rfc4514_string()},
            **{"key_usage": None if usage is None else list(usage), "extended_key_usage": None},
            "content": base64.b64encode(data).decode(),
        }

    def result(self) -> dict:
        """As the module returns it."""
        return {
            **{"changed": False, "results": self.keys, "certificates": self.certificates},
            **{"certificate_requests": self.requests, "authorized_keys": self.authorized, "receipts": self.receipts},
            **{"public_keys": self.public_keys, "not_looked_at": []},
            "searched": {"files": 1, "folders": 1, "seconds": 0.1, "complete": True},
        }


def _text(made: x509.Certificate, which: str) -> str:
    return getattr(made, f"not_valid_{which}_utc").strftime(_FORM)
