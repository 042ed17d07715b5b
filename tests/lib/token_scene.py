# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host whose keys are on SoftHSM tokens, agents that tokens can wrap to, and the programs that judge from outside.

Keys are made by the collection's own ``_tokens/keys.py``; what they then decrypt or agree on is asked of
``pkcs11-tool``, and what they have to answer is made by ``openssl``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import story
import tokens
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.keywrap import aes_key_wrap, aes_key_wrap_with_padding

from ansible_collections.keyops.lifecycle.plugins.module_utils._formats import canonical, times
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import identity
from ansible_collections.keyops.lifecycle.plugins.module_utils._model import KeyFacts
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing import wrapped_key, wrapped_key_open
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.groups import parse_groups
from ansible_collections.keyops.lifecycle.plugins.module_utils._sealing.seal_key import seal_token_key
from ansible_collections.keyops.lifecycle.plugins.plugin_utils import records
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.vault.open import open_vault

_MAKE = """
import base64, json, sys
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import keys, library, objects, session
asked = json.load(sys.stdin)
facts, token = library.find(library.load(asked["library"]), {"token": asked["token"]})
made = []
with session.opened(token, asked["pin"], writable=True) as opened:
    for one in asked["keys"]:
        kept = keys.Draft(opened, keys.NewKey(**one)).keep()
        made.append(base64.b64encode(kept.private.public_key).decode())
print(json.dumps({"made": made}))
"""
_REMOVE = """
import json, sys
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import library, objects, session
asked = json.load(sys.stdin)
facts, token = library.find(library.load(asked["library"]), {"token": asked["token"]})
with session.opened(token, asked["pin"], writable=True) as opened:
    mine = [one for one in objects.survey(opened) if one.label == asked["label"]]
    for one in mine:
        one.handle.destroy()
print(json.dumps({"removed": len(mine)}))
"""


#: A key out of its token in plain numbers, for the test alone: wrapped to a key that the test has.
_OUT = """
import base64, json, sys
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import library, objects, session, wrapping
asked = json.load(sys.stdin)
facts, token = library.find(library.load(asked["library"]), {"token": asked["token"]})
with session.opened(token, asked["pin"]) as opened:
    (one,) = [one for one in objects.survey(opened) if one.kind == "private_key" and one.label == asked["label"]]
    wrapper = wrapping.Wrapper(opened, "t")
    wrapped = wrapper.wrap(one.handle, "t")
    oaep_hash, session_key = wrapper.wrap_to(wrapped.session_key, base64.b64decode(asked["to"]))
    both = [base64.b64encode(part).decode() for part in (wrapped.blob, session_key)]
print(json.dumps({"wrapping": wrapped.wrapping, "hash": oaep_hash, "blob": both[0], "key": both[1]}))
"""


class Host:
    """A machine with SoftHSM tokens, all with the same PINs; or with NSS's one token."""

    def __init__(self, scene: story.Scene, name: str, names: tuple[str, ...], nss: bool = False) -> None:
        self.machine = scene.machine(name)
        folder = self.machine.folder / "hsm"
        self.store = self.machine.store = tokens.nss(folder) if nss else tokens.softhsm(folder)
        self.store.pins = self.store.pins or tokens.new_pins()
        for token in names:
            self.add_token(token)

    @property
    def pin(self) -> str:
        """The user PIN of every token."""
        return self.store.pins["pin"]

    def add_token(self, name: str, pin: str | None = None) -> None:
        """Make a token."""
        pins = ["--so-pin", self.store.pins["so_pin"], "--pin", pin or self.pin]
        done = self.store.run(["softhsm2-util", "--init-token", "--free", "--label", name, *pins])
        assert done.returncode == 0, done.stderr

    def wipe(self, name: str) -> None:
        """Delete a token and all that is on it."""
        assert self.store.run(["softhsm2-util", "--delete-token", "--token", name]).returncode == 0

    def key(self, label: str | None, token: str = "ops", **more: object) -> dict:
        """An item of ``keys``."""
        parts = {"object": label} if label else {}
        return {"key": self.store.uri(quote(token), **parts), "pin": self.pin, **more}

    def make(self, *wanted: dict, token: str = "ops") -> list[bytes]:
        """Make keys that may be archived (``algorithm``, ``usage``, ``label``); returns their public halves in DER."""
        described = [{"extractable": True, **one} for one in wanted]
        made = self.store.python(_MAKE, library=self.store.library, token=token, pin=self.pin, keys=described)["made"]
        return [canonical.decode(one) for one in made]

    def remove(self, label: str, token: str) -> int:
        """Destroy a key pair; returns how many objects there were."""
        about = {"library": self.store.library, "token": token, "pin": self.pin, "label": label}
        return self.store.python(_REMOVE, **about)["removed"]

    def tool(self, *arguments: str, token: str = "ops", stdin: str = "") -> str:
        """What ``pkcs11-tool`` says."""
        command = ["pkcs11-tool", "--module", self.store.library, "--token-label", token]
        done = self.store.run([*command, "--login", "--pin", self.pin, *arguments], stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def change_pin(self, name: str, pin: str) -> None:
        """Give a token another user PIN."""
        command = [
            "pkcs11-tool",
            "--module",
            self.store.library,
            "--token-label",
            name,
            "--change-pin",
            "--pin",
            self.pin,
        ]
        assert self.store.run([*command, "--new-pin", pin]).returncode == 0

    def objects(self, token: str = "ops") -> str:
        """The objects of a token, as ``pkcs11-tool`` lists them."""
        return self.tool("--list-objects", token=token)


def taken_out(host: Host, label: str) -> Any:
    """A private key of the token ``ops`` that may be wrapped, as an object of cryptography."""
    own = rsa.generate_private_key(65537, 2048)
    to = own.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    about = {"library": host.store.library, "token": "ops", "pin": host.pin, "label": label}
    out = host.store.python(_OUT, to=canonical.encode(to), **about)
    session_key = own.decrypt(canonical.decode(out["key"]), wrapped_key_open.oaep(out["hash"]))
    return serialization.load_der_private_key(
        wrapped_key_open.unwrap(session_key, out["wrapping"], canonical.decode(out["blob"])), None
    )


def encrypted(folder: Path, public_key: bytes, text: bytes) -> Path:
    """A file with the text, encrypted by openssl to an RSA key."""
    key, path = folder / "public.der", folder / "encrypted"
    key.write_bytes(public_key)
    options = ["-pkeyopt", "rsa_padding_mode:pkcs1"]
    path.write_bytes(
        story.openssl("pkeyutl", "-encrypt", "-pubin", "-keyform", "DER", "-inkey", key, *options, stdin=text)
    )
    return path


def decrypted(host: Host, path: Path, public_key: bytes, token: str) -> bytes:
    """What ``pkcs11-tool`` decrypts."""
    result = path.with_suffix(".out")
    host.tool(
        *("--decrypt", "--mechanism", "RSA-PKCS", "--id", canonical.digest(public_key)[:40]),
        *("--input-file", str(path), "--output-file", str(result)),
        token=token,
    )
    return result.read_bytes()


def agreed(host: Host, folder: Path, public_key: bytes, token: str, curve: str = "P-256") -> bool:
    """Whether the token's EC key agrees on the same secret as openssl with a key of its own."""
    other, own, peer = folder / "other.pem", folder / "own.der", folder / "peer.der"
    own.write_bytes(public_key)
    story.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-out", other)
    secret = story.openssl("pkeyutl", "-derive", "-inkey", other, "-peerkey", own, "-peerform", "DER")
    point = serialization.load_der_public_key(story.openssl("pkey", "-in", other, "-pubout", "-outform", "DER"))
    peer.write_bytes(point.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
    result = folder / "agreed"
    host.tool(
        *("--derive", "--mechanism", "ECDH1-DERIVE", "--id", canonical.digest(public_key)[:40]),
        *("--input-file", str(peer), "--output-file", str(result)),
        token=token,
    )
    return result.read_bytes() == secret


def agents(folder: Path, names: tuple[str, ...] = ("agent-1", "agent-2", "agent-3")) -> list[story.Agent]:
    """Recovery agents with wrapping certificates."""
    kinds = ("RSA:2048", "EC:P-256", "EC:P-384")
    return [story.make_agent(folder, name, kind, wrapping="RSA:2048") for name, kind in zip(names, kinds)]


def archive_as_another_token(
    scene: story.Scene, wrapping: str, owner: str = "Zoë's mail", instead_of: bytes | None = None
) -> bytes:
    """Archive a key as a token that wraps in this way would; returns its public half in DER.

    Sealing and storing are the product's; the token's part is played here, since no token at hand wraps so.

    Args:
        instead_of: the public half of somebody else's P-256 key, of which this becomes a false revision.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    session_key = os.urandom(32)
    public_key = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    public_key = instead_of or public_key
    content = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key_id, groups = canonical.digest(public_key), parse_groups(scene.groups(), 2, times.now())
    keys = {}
    for agent in groups[0].agents:
        to = x509.load_der_x509_certificate(agent.wrapping_certificate).public_key()
        mac = CMAC(algorithms.AES(session_key))
        mac.update(wrapped_key.statement(key_id, owner, "office", agent.agent_id))
        method = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        keys["office", agent.agent_id] = wrapped_key.WrappedKey(
            *(wrapping, identity.key_id_of_certificate(agent.wrapping_certificate), "sha256"),
            *(to.encrypt(session_key, method), mac.finalize().hex()),
        )
    facts = KeyFacts(key_id, "ec-p256", public_key, "key_agreement", "token")
    blob = _WRAP[wrapping](session_key, content)
    sealed = seal_token_key(wrapped_key.TokenKey(facts, wrapping, blob, keys), "key_agreement", owner, groups)
    with open_vault({"backend": "sqlite", "path": str(scene.vault_path)}, False) as vault:
        vault.create(records.objects_of(sealed))
        records.add(vault, records.record_of(sealed, facts, host="mail2", place="pkcs11:token=t;object=o"))
    return public_key


_WRAP = {
    "aes-kwp": aes_key_wrap_with_padding,
    "aes-kw": lambda key, content: aes_key_wrap(key, content + bytes(-len(content) % 8)),
    "aes-kw-pkcs7": lambda key, content: wrapped_key_open.wrap(key, "aes-kw-pkcs7", content),
    "aes-cbc-pad": lambda key, content: wrapped_key_open.wrap(key, "aes-cbc-pad", content),
}
