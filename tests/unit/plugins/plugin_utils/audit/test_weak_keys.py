# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Weak and publicly known keys, with the real library badkeys and a blocklist of our own."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import badkeys.allkeys.block
import badkeys.utils
import gathered_facts as made
import gmpy2
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import OptionError
from ansible_collections.keyops.lifecycle.plugins.plugin_utils.audit import weak_keys


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """badkeys' folder for its blocklist: empty, and forgotten afterwards."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    badkeys.utils._cachedir.cache_clear()
    monkeypatch.setattr(badkeys.allkeys.block, "_blmeta", False)
    monkeypatch.setattr(badkeys.allkeys.block, "_bldata", False)
    (tmp_path / "badkeys").mkdir()
    yield tmp_path / "badkeys"
    badkeys.utils._cachedir.cache_clear()


def list_key(cache: Path, number: int) -> None:
    """A blocklist with one key, in badkeys' format: 15 bytes of SHA-256 and the list's number."""
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    (cache / "blocklist.dat").write_bytes(hashlib.sha256(data).digest()[:15] + b"\x01")
    (cache / "badkeysdata.json").write_text(json.dumps({"blocklists": [{"id": 1, "name": "planted"}]}))


def close_primes() -> str:
    """The public key of two neighbouring primes."""
    p = gmpy2.next_prime(gmpy2.mpz(3) << 1022)
    q = gmpy2.next_prime(p)
    public = rsa.RSAPublicNumbers(65537, int(p * q)).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(serialization.Encoding.PEM, form).decode()


def test_badkeys_finds_what_a_broken_generator_made() -> None:
    looked = weak_keys.look(
        {"weak": ("rsa-2048", close_primes()), "fine": ("ec-p256", made.pem(made.new_key()))}, "auto"
    )
    assert {key: kind.id for key, (kind, dummy) in looked.found.items()} == {"weak": "KL001"}
    assert "Fermat" in looked.found["weak"][1]
    assert "--update-bl" in looked.note


def test_badkeys_own_bad_keys() -> None:
    """The public keys of its own tests: what they are known for is told. The rest needs the blocklist, or is fine."""
    given = json.loads((Path(__file__).parent / "badkeys_keys.json").read_text())["keys"]
    looked = weak_keys.look({name: ("rsa-2048", one["public_key"]) for name, one in given.items()}, "auto")
    assert looked.found.keys() == {name for name, one in given.items() if one["told"]}
    assert all(one["told"] is None or one["told"] in looked.found[name][1] for name, one in given.items())


def test_publicly_known_key(cache: Path) -> None:
    known, fine = made.new_key(), made.new_key()
    list_key(cache, known.public_key().public_numbers().x)
    looked = weak_keys.look({"known": ("ec-p256", made.pem(known)), "fine": ("ec-p256", made.pem(fine))}, "required")
    assert {key: kind.id for key, (kind, dummy) in looked.found.items()} == {"known": "KL002"}
    assert "planted" in looked.found["known"][1] and looked.note is None


def test_without_library_or_blocklist(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="blocklist"):
        weak_keys.look({}, "required")
    monkeypatch.setitem(sys.modules, "badkeys.checks", None)
    with pytest.raises(OptionError, match="badkeys"):
        weak_keys.look({}, "required")
    looked = weak_keys.look({"small": ("rsa-1024", None)}, "auto")
    assert "badkeys" in looked.note and looked.found["small"][0].id == "KL001"
    assert weak_keys.look({}, "off").note is None


def test_what_is_no_public_key_breaks_nothing() -> None:
    assert weak_keys.look({"x": (None, "rubbish"), "y": ("ec-p256", None)}, "auto").found == {}
