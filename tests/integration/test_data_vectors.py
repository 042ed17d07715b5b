# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The S/MIME and PKCS#7 vectors of cryptography's own tests (PyPI cryptography-vectors), decrypted or refused."""

from __future__ import annotations

from pathlib import Path

import cryptography_vectors
import encrypted_mail
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ansible_collections.keyops.lifecycle.plugins.module_utils import _errors
from ansible_collections.keyops.lifecycle.plugins.module_utils._data import cms
from ansible_collections.keyops.lifecycle.plugins.module_utils._data.decryptor import Decryptor

VECTORS = Path(cryptography_vectors.__file__).parent


def test_vectors() -> None:
    key = load_pem_private_key((VECTORS / "x509/custom/ca/rsa_key.pem").read_bytes(), None)
    certificate = encrypted_mail.openssl("x509", "-in", VECTORS / "x509/custom/ca/rsa_ca.pem", "-outform", "DER")
    known = Decryptor("vectors", key, [certificate])
    expected = {
        "enveloped-rsa-oaep.pem": b"Hello, world!",
        "enveloped-triple-des.pem": b"Hello, World!\r\n",
        "enveloped.pem": _errors.NoKeyForData,
        "enveloped-no-content.der": _errors.DataDamaged,
        **dict.fromkeys(("amazon-roots.der", "amazon-roots.p7b", "isrg.pem", "authenticode.der"), _errors.NotEncrypted),
    }
    for name, wanted in expected.items():
        data = (VECTORS / "pkcs7" / name).read_bytes()
        if isinstance(wanted, bytes):
            assert cms.decrypt(cms.unarmored(data), [known]).content == wanted, name
        else:
            with pytest.raises(wanted):
                cms.decrypt(cms.unarmored(data), [known])
