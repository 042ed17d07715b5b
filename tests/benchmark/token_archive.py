# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archiving 50 P-256 keys from a SoftHSM token to three agents, beside the same from files and a bare loop, in one run.

- The whole process, with its three steps on the host (each a Python of its own, as a module is) and the vault.
- The bare loop: python-pkcs11 alone does what the token has to do for 50 keys and three agents: a session key, the
  private key under it, the session key to three certificates, and three CMACs. Nothing is sealed, proven or stored.
- A second run, which finds nothing to do.

    python tests/benchmark/token_archive.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / ".build" / "collections"), str(CHECKOUT / "tests" / "lib")]

import story
import token_scene
import tokens
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

KEYS = 50

_BARE = """
import json, sys, time
import pkcs11
from pkcs11 import Attribute, KeyType, MechanismFlag, ObjectClass
from pkcs11.mechanisms import MGF, Mechanism
asked = json.load(sys.stdin)
oaep = {"mechanism": Mechanism.RSA_PKCS_OAEP, "mechanism_param": (Mechanism.SHA_1, MGF.SHA1, None)}
token = pkcs11.lib(asked["library"]).get_token(token_label="ops")
with token.open(user_pin=asked["pin"]) as session:
    begin = time.perf_counter()
    agents = [
        session.create_object({
            Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.KEY_TYPE: KeyType.RSA, Attribute.WRAP: True,
            Attribute.MODULUS: bytes.fromhex(modulus), Attribute.PUBLIC_EXPONENT: b"\\x01\\x00\\x01",
        })
        for modulus in asked["agents"]
    ]
    count = 0
    for key in list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})):
        once = session.generate_key(
            KeyType.AES, 256, capabilities=MechanismFlag.WRAP | MechanismFlag.SIGN,
            template={Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: True},
        )
        once.wrap_key(key, mechanism=Mechanism.AES_KEY_WRAP_PAD)
        for agent in agents:
            agent.wrap_key(once, **oaep)
            once.sign(b"statement" * 20, mechanism=Mechanism.AES_CMAC)
        count += 1
    print(json.dumps({"count": count, "seconds": time.perf_counter() - begin}))
"""


def archive(scene: story.Scene, machine: story.Machine, keys: list[dict]) -> tuple[float, dict]:
    """Seconds, and the result."""
    begin = time.perf_counter()
    done = machine.run("key_archive", keys=keys, key_owner=machine.name, recovery_groups=scene.groups())
    return time.perf_counter() - begin, done


def moduli(agents: list[story.Agent]) -> list[str]:
    """The agents' wrapping keys, as the bare loop takes them."""
    found = []
    for agent in agents:
        key = x509.load_pem_x509_certificate((agent.folder / "wrapping.pem").read_bytes()).public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        found.append(f"{key.public_numbers().n:0512x}")
    return found


def one_round(folder: Path, agents: list[story.Agent]) -> tuple[float, float, float, float]:
    """Seconds: from the token, the same again, from files, and the bare loop."""
    scene = story.Scene(folder, agents)
    host = token_scene.Host(scene, "mail1", ("ops",))
    labels = [f"key-{number}" for number in range(KEYS)]
    host.make(*({"algorithm": "ec-p256", "usage": "key_agreement", "label": label} for label in labels))
    keys = [host.key(label) for label in labels]
    first, done = archive(scene, host.machine, keys)
    assert [row["changed"] for row in done["results"]] == [True] * KEYS
    second, done = archive(scene, host.machine, keys)
    assert not done["changed"]
    bare = host.store.python(_BARE, library=host.store.library, pin=host.pin, agents=moduli(agents))
    assert bare["count"] == KEYS
    files = scene.machine("mail2")
    files.store = tokens.Store(files.folder, "", {})  # a process of its own for each step, too
    named = [{"key": str(files.folder / f"{label}.key")} for label in labels]
    files.run("private_key", keys=[{**one, "usage": "key_agreement", "algorithm": "ec-p256"} for one in named])
    return first, second, archive(scene, files, named)[0], bare["seconds"]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(dir=CHECKOUT / ".build") as name:
        folder = Path(name)
        agents = token_scene.agents(folder / "agents")
        runs = []
        for number in range(rounds):
            (folder / f"round-{number}").mkdir()
            runs.append(one_round(folder / f"round-{number}", agents))
        first, second, files, bare = (statistics.median(column) for column in zip(*runs))
    print(f"{KEYS} P-256 keys archived from a token to 3 agents: {first:.2f} s; again {second:.2f} s; ", end="")
    print(f"from files {files:.2f} s ({first / files:.2f} x); the token's own part in a bare loop {bare:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
