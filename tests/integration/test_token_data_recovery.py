# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""data_recovery with keys that stay on a token (SoftHSM): RSA decrypts, EC derives, one login for all."""

from __future__ import annotations

from pathlib import Path

import encrypted_mail
import pytest
import token_host
from encrypted_mail import ENTITY, Person
from token_host import TokenHost

KEYS = (
    ("letters", "rsa-2048", "key_transport"),
    ("mail", "ec-p256", "key_agreement"),
    ("other", "ec-p384", "key_agreement"),
)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> TokenHost:
    return token_host.softhsm(tmp_path_factory.mktemp("token"))


@pytest.fixture(scope="module")
def people(host: TokenHost, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Person]:
    """Keys on the token, with certificates that openssl makes for them."""
    folder = tmp_path_factory.mktemp("people")
    issuer = encrypted_mail.person(folder, "issuer", "p256")
    wishes = [host.key(label, algorithm=algorithm, usage=usage) for label, algorithm, usage in KEYS]
    found = {}
    for (label, dummy, dummy), row in zip(KEYS, host.run(*wishes)["results"]):
        public, certificate = folder / f"{label}.pub", folder / f"{label}.pem"
        public.write_text(row["public_key"])
        encrypted_mail.openssl(
            *("x509", "-new", "-subj", f"/CN={label}", "-force_pubkey", public),
            *("-CA", issuer.certificate, "-CAkey", issuer.key, "-days", 9, "-out", certificate),
        )
        found[label] = Person(label, Path("/nowhere"), certificate)
    return found


def test_messages_to_keys_on_a_token(host: TokenHost, people: dict[str, Person], tmp_path: Path) -> None:
    variants = {
        "letters": [[], ["-stream"], ["-aes-256-gcm"], *(["-keyopt", "rsa_padding_mode:oaep", *more] for more in OAEP)],
        "mail": [["-aes-128-gcm"], ["-keyopt", "ecdh_kdf_md:sha256"]],
        "other": [["-des3"], ["-aes256-wrap", "-keyopt", "ecdh_kdf_md:sha384"]],
    }
    box, expected = b"", 0
    for label, many in variants.items():
        for options in many:
            box += (
                b"From x Mon Jan  1 00:00:00 2024\n"
                + people[label].mail(ENTITY, *options).replace(b"\r\n", b"\n")
                + b"\n"
            )
            expected += 1
    stranger = encrypted_mail.person(tmp_path, "stranger")
    box += b"From x Mon Jan  1 00:00:00 2024\n" + stranger.mail(ENTITY) + b"\n"
    src, dest = tmp_path / "box", tmp_path / "out/box"
    src.write_bytes(box)
    files = {"keys": [], "sources": [{"src": str(src), "dest": str(dest), "kind": "auto", "files": []}]}
    options = {**files, "state_dir": str(tmp_path / "state"), "report": None, "seal": None, "request_id": None}
    for with_certificates in (True, False):
        certificates = {label: [str(people[label].certificate)] if with_certificates else [] for label in people}
        options["keys"] = [
            {"key": host.uri(label), "pin": host.pin, "passphrase": None, "certificates": certificates[label]}
            for label, dummy, dummy in KEYS
        ]
        (row,) = host.store.call("recover_data", **options)["results"]
        assert (row["decrypted"], row["failed"]) == (expected, 1), row["failures"]
        assert row["failures"][0]["reason"] == ("NoKeyForData" if with_certificates else "DataNotOpened")
        assert len(row["key_ids"]) == 3
        assert dest.read_bytes().replace(b"\n>", b"\n").count(b"\r\nend\n") == expected
        dest.unlink()
    options["keys"][0]["pin"] = "wrong-" + host.pin
    assert host.store.call("recover_data", **options)["error_class"] in ("WrongPin", "OptionError")
    options["keys"][0].update(pin=None, passphrase="x")
    assert host.store.call("recover_data", **options)["error_class"] == "OptionError"


OAEP = (
    [],
    ["-keyopt", "rsa_oaep_md:sha256", "-keyopt", "rsa_mgf1_md:sha256"],
    ["-keyopt", "rsa_oaep_md:sha512", "-keyopt", "rsa_mgf1_md:sha1"],
)
