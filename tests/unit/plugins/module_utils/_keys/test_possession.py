# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The possession challenge: the holder answers, nobody else does, nothing made for another purpose is worked on."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import PossessionNotProven
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import possession

ALGORITHMS = {
    "rsa-2048": ("RSA", "rsa_keygen_bits:2048"),
    "rsa-1024": ("RSA", "rsa_keygen_bits:1024"),
    "ec-p256": ("EC", "ec_paramgen_curve:P-256"),
    "ec-p384": ("EC", "ec_paramgen_curve:P-384"),
    "ec-p521": ("EC", "ec_paramgen_curve:P-521"),
    "x25519": ("X25519", None),
    "x448": ("X448", None),
}


class Holder:
    """A key that openssl made."""

    def __init__(self, path: Path, algorithm: str, option: str | None) -> None:
        self.path = path
        _openssl("genpkey", "-algorithm", algorithm, *(("-pkeyopt", option) if option else ()), "-out", path)
        self.public_key = _openssl("pkey", "-in", path, "-pubout", "-outform", "DER")
        self.key_id = hashlib.sha256(self.public_key).hexdigest()
        self.private_key: Any = serialization.load_pem_private_key(path.read_bytes(), None)


def _openssl(*arguments: object) -> bytes:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=True).stdout


@pytest.fixture(name="holders", scope="module")
def _holders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Holder]:
    folder = tmp_path_factory.mktemp("holders")
    return {name: Holder(folder / name, *arguments) for name, arguments in ALGORITHMS.items()}


@pytest.fixture(name="others", scope="module")
def _others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Holder]:
    folder = tmp_path_factory.mktemp("others")
    return {name: Holder(folder / name, *arguments) for name, arguments in ALGORITHMS.items()}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_holder_answers(name: str, holders: dict[str, Holder]) -> None:
    holder = holders[name]
    challenge, expected = possession.make_challenge(holder.public_key, holder.key_id)
    relayed = json.loads(json.dumps(challenge))
    possession.check_answer(expected, possession.answer_challenge(holder.private_key, holder.key_id, relayed))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_challenge_is_another(name: str, holders: dict[str, Holder]) -> None:
    made = [possession.make_challenge(holders[name].public_key, holders[name].key_id) for dummy in range(5)]
    assert len({answer for _challenge, answer in made}) == 5
    assert len({challenge["nonce"] for challenge, _answer in made}) == 5
    with pytest.raises(PossessionNotProven):
        possession.check_answer(made[0][1], made[1][1])


def test_the_answer_is_the_documents(holders: dict[str, Holder], tmp_path: Path) -> None:
    """Computed from openssl's shared secret and the standard library alone."""
    holder = holders["ec-p384"]
    challenge, expected = possession.make_challenge(holder.public_key, holder.key_id)
    (tmp_path / "peer").write_bytes(base64.b64decode(challenge["ephemeral_key"]))
    peer = ("-peerkey", tmp_path / "peer", "-peerform", "DER")
    secret = _openssl("pkeyutl", "-derive", "-inkey", holder.path, *peer)
    context = f"keyops-possession/1\n{holder.key_id}\n{challenge['nonce']}".encode()
    assert hmac.new(secret, context, hashlib.sha256).hexdigest() == expected


def test_the_rsa_answer_is_the_documents(holders: dict[str, Holder], tmp_path: Path) -> None:
    holder = holders["rsa-2048"]
    challenge, expected = possession.make_challenge(holder.public_key, holder.key_id)
    context = f"keyops-possession/1\n{holder.key_id}\n{challenge['nonce']}".encode()
    (tmp_path / "z").write_bytes(base64.b64decode(challenge["ciphertext"]))
    options = ("rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256", f"rsa_oaep_label:{context.hex()}")
    words = [word for option in options for word in ("-pkeyopt", option)]
    secret = _openssl("pkeyutl", "-decrypt", "-inkey", holder.path, "-in", tmp_path / "z", *words)
    assert len(secret) == 32
    assert hmac.new(secret, context, hashlib.sha256).hexdigest() == expected


@pytest.mark.parametrize("name", ALGORITHMS)
def test_another_key_does_not_answer(name: str, holders: dict[str, Holder], others: dict[str, Holder]) -> None:
    holder, other = holders[name], others[name]
    challenge, expected = possession.make_challenge(holder.public_key, holder.key_id)
    with pytest.raises(PossessionNotProven):
        possession.answer_challenge(other.private_key, holder.key_id, challenge)
    if "ciphertext" in challenge:
        with pytest.raises(PossessionNotProven):
            possession.answer_challenge(other.private_key, other.key_id, challenge)
    else:
        with pytest.raises(PossessionNotProven):
            possession.check_answer(expected, possession.answer_challenge(other.private_key, other.key_id, challenge))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_squatted_key_id_gets_no_challenge(name: str, holders: dict[str, Holder], others: dict[str, Holder]) -> None:
    with pytest.raises(PossessionNotProven):
        possession.make_challenge(others[name].public_key, holders[name].key_id)


def test_a_message_that_was_encrypted_for_another_purpose_is_not_worked_on(holders: dict[str, Holder]) -> None:
    """The attack: a bad controller lets the host decrypt somebody's CMS content key (OAEP, 32 bytes, no label)."""
    holder = holders["rsa-2048"]
    challenge, _expected = possession.make_challenge(holder.public_key, holder.key_id)
    public_key = holder.private_key.public_key()
    context = f"keyops-possession/1\n{holder.key_id}\n{challenge['nonce']}".encode()
    attempts = [
        (None, b"k" * 32),
        (b"keyops-possession/1", b"k" * 32),
        (context, b"k" * 31),
        (context, b""),
        (context, b"k" * 33),
    ]
    for label, secret in attempts:
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label)
        stolen = base64.b64encode(public_key.encrypt(secret, oaep)).decode()
        with pytest.raises(PossessionNotProven):
            possession.answer_challenge(holder.private_key, holder.key_id, {**challenge, "ciphertext": stolen})


def test_every_wrong_challenge_looks_the_same(holders: dict[str, Holder]) -> None:
    for name, holder in holders.items():
        challenge, _expected = possession.make_challenge(holder.public_key, holder.key_id)
        other_kind = possession.make_challenge(holders["x448"].public_key, holders["x448"].key_id)[0]
        wrong = [
            {},
            {"nonce": challenge["nonce"]},
            {**challenge, "more": ""},
            {**challenge, "nonce": "0" * 31},
            {**challenge, "nonce": 7},
            *({**challenge, field: value} for field in challenge if field != "nonce" for value in ("", "AAAA", "?", 7)),
            [],
            None,
        ]
        if name != "x448":
            wrong.append(other_kind)
        messages = set()
        for item in wrong:
            with pytest.raises(PossessionNotProven) as caught:
                possession.answer_challenge(holder.private_key, holder.key_id, item)
            messages.add(str(caught.value))
            assert caught.value.__suppress_context__
        assert len(messages) == 1


def test_points_of_small_order_are_refused(holders: dict[str, Holder]) -> None:
    """Every key would have the same shared secret with them, so anybody could answer."""
    holder = holders["x25519"]
    challenge, _expected = possession.make_challenge(holder.public_key, holder.key_id)
    prefix = bytes.fromhex("302a300506032b656e032100")
    for point in (bytes(32), b"\x01" + bytes(31)):
        small = {**challenge, "ephemeral_key": base64.b64encode(prefix + point).decode()}
        with pytest.raises(PossessionNotProven):
            possession.answer_challenge(holder.private_key, holder.key_id, small)
        public_key = prefix + point
        with pytest.raises(PossessionNotProven):
            possession.make_challenge(public_key, hashlib.sha256(public_key).hexdigest())


@pytest.mark.parametrize("algorithm", ("ED25519", "ED448"))
def test_signing_keys_get_no_challenge(algorithm: str, tmp_path: Path) -> None:
    holder = Holder(tmp_path / "key", algorithm, None)
    with pytest.raises(PossessionNotProven):
        possession.make_challenge(holder.public_key, holder.key_id)
    with pytest.raises(PossessionNotProven):
        possession.answer_challenge(holder.private_key, holder.key_id, {"nonce": "0" * 32, "ephemeral_key": "AAAA"})


def test_other_curves_get_no_challenge(tmp_path: Path) -> None:
    holder = Holder(tmp_path / "key", "EC", "ec_paramgen_curve:secp256k1")
    with pytest.raises(PossessionNotProven):
        possession.make_challenge(holder.public_key, holder.key_id)


@settings(max_examples=100)
@given(data=st.binary(max_size=100))
def test_garbage_is_no_public_key(data: bytes) -> None:
    with pytest.raises(PossessionNotProven):
        possession.make_challenge(data, hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("answer", ("", "0" * 64, None, 7, b"bytes", "\u0660" * 64))
def test_wrong_answers(answer: object, holders: dict[str, Holder]) -> None:
    _challenge, expected = possession.make_challenge(holders["x25519"].public_key, holders["x25519"].key_id)
    for wrong in (answer, expected.upper(), expected + "0"):
        with pytest.raises(PossessionNotProven):
            possession.check_answer(expected, wrong)
