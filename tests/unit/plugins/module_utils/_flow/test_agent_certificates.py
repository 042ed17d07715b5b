# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An agent's certificates, judged by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import FormatError, KeyNotFound, OptionError
from ansible_collections.keyops.lifecycle.plugins.module_utils._flow import agent_certificates
from ansible_collections.keyops.lifecycle.plugins.module_utils._module import FlowResult, HostTask

ALGORITHMS = {
    "ec": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "ed25519": ["-algorithm", "ED25519"],
}


def openssl(*arguments: object) -> str:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=True).stdout.decode()


def agent(folder: Path, signing: str = "ec", encryption: str = "rsa") -> dict:
    for name, kind, usage in (("signing", signing, "digitalSignature"), ("encryption", encryption, "keyEncipherment")):
        openssl("genpkey", *ALGORITHMS[kind], "-out", folder / f"{name}.key")
        extension = f"keyUsage=critical,{usage}"
        subject = f"/CN=anna ({name})"
        csr = folder / f"{name}.csr"
        openssl("req", "-new", "-key", folder / f"{name}.key", "-subj", subject, "-addext", extension, "-out", csr)
    files = {
        f"{name}_{what}": str(folder / f"{name}.{ending}")
        for name in ("signing", "encryption")
        for what, ending in (("request", "csr"), ("certificate", "pem"))
    }
    return {**files, "signing_key": str(folder / "signing.key"), "signing_key_passphrase": None, "days": 30}


def run(params: dict, check_mode: bool = False) -> FlowResult:
    return agent_certificates.run(HostTask(params, check_mode))


def check_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    """Signature and names only: the issuer is no authority, so openssl would not build a chain over it."""
    assert certificate.issuer == issuer.subject
    key, hashed = issuer.public_key(), certificate.signature_hash_algorithm
    parameters = {
        rsa.RSAPublicKey: lambda: (padding.PKCS1v15(), hashed),
        ec.EllipticCurvePublicKey: lambda: (ec.ECDSA(hashed),),
        ed25519.Ed25519PublicKey: lambda: (),
    }
    (chosen,) = (make() for kind, make in parameters.items() if isinstance(key, kind))
    key.verify(certificate.signature, certificate.tbs_certificate_bytes, *chosen)


@pytest.mark.parametrize("signing", ALGORITHMS)
def test_both_verify_and_say_what_was_requested(signing: str, tmp_path: Path) -> None:
    params = agent(tmp_path, signing)
    assert run(params).changed
    issuer = x509.load_pem_x509_certificate(Path(params["signing_certificate"]).read_bytes())
    for name in ("signing", "encryption"):
        certificate = params[f"{name}_certificate"]
        check_issued(x509.load_pem_x509_certificate(Path(certificate).read_bytes()), issuer)
        public_key = openssl("pkey", "-in", tmp_path / f"{name}.key", "-pubout")
        assert openssl("x509", "-in", certificate, "-noout", "-pubkey") == public_key
    text = openssl("x509", "-in", params["encryption_certificate"], "-noout", "-text")
    assert "Key Encipherment" in text and "Subject: CN = anna (encryption)" in text
    assert "Issuer: CN = anna (signing)" in text


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    params = agent(tmp_path)
    run(params)
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert not run(params).changed
    Path(params["encryption_certificate"]).unlink()
    assert [row["changed"] for row in run(params).results] == [False, True]
    after = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert sum(old != new for old, new in zip(before, after)) == 1


def test_check_mode_makes_nothing(tmp_path: Path) -> None:
    params = agent(tmp_path)
    assert run(params, check_mode=True).changed
    (tmp_path / "encryption.csr").unlink()
    assert run(params, check_mode=True).changed
    assert not list(tmp_path.glob("*.pem"))


def test_a_request_for_another_key_is_refused(tmp_path: Path) -> None:
    params = agent(tmp_path)
    with pytest.raises(OptionError, match="signing_request"):
        run({**params, "signing_request": params["encryption_request"]})
    with pytest.raises(OptionError, match="encryption_request"):
        run({**params, "encryption_request": params["signing_request"]})


def test_a_missing_or_broken_request_is_told(tmp_path: Path) -> None:
    params = agent(tmp_path)
    with pytest.raises(KeyNotFound, match="encryption_request"):
        run({**params, "encryption_request": str(tmp_path / "none")})
    with pytest.raises(FormatError, match="signing_request"):
        run({**params, "signing_request": params["signing_key"]})
    assert not list(tmp_path.glob("*.pem"))


def test_a_certificate_of_an_earlier_key_is_refused(tmp_path: Path) -> None:
    params = agent(tmp_path)
    run(params)
    certificate = Path(params["encryption_certificate"]).read_bytes()
    params = agent(tmp_path)  # new keys, new requests
    for name in ("signing_certificate", "encryption_certificate"):
        Path(params[name]).unlink()
    run(params)
    Path(params["encryption_certificate"]).write_bytes(certificate)
    with pytest.raises(OptionError, match="another key than encryption_request"):
        run(params)


def test_a_wrapping_certificate_is_made_where_it_is_asked_for(tmp_path: Path) -> None:
    params = agent(tmp_path)
    openssl("genpkey", *ALGORITHMS["rsa"], "-out", tmp_path / "wrapping.key")
    request = tmp_path / "wrapping.csr"
    openssl("req", "-new", "-key", tmp_path / "wrapping.key", "-subj", "/CN=anna (wrapping)", "-out", request)
    params.update(wrapping_request=str(request), wrapping_certificate=str(tmp_path / "wrapping.pem"))
    done = run(params)
    assert [row["path"] for row in done.results][2] == str(tmp_path / "wrapping.pem")
    certificates = {
        name: x509.load_pem_x509_certificate((tmp_path / f"{name}.pem").read_bytes())
        for name in ("signing", "wrapping")
    }
    check_issued(certificates["wrapping"], certificates["signing"])
    assert not run(params).changed
    with pytest.raises(OptionError, match="give both or none"):
        run({**params, "wrapping_request": None})
    other = {
        **params,
        "wrapping_request": params["encryption_request"],
        "wrapping_certificate": str(tmp_path / "x.pem"),
    }
    with pytest.raises(OptionError, match="another task"):
        run(other)
