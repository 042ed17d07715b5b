# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Key files of others are read as openssl and ssh-keygen read them, on old and new libraries; others are refused."""

from __future__ import annotations

import base64
import hashlib

import pytest

from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import KeyopsError, KeyUnreadable
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys import der, file, identity, pkcs8
from ansible_collections.keyops.lifecycle.plugins.module_utils._keys.generate import generate

#: Readable for their facts, but not to be used: no library of a host loads them.
NOT_USABLE = {"rsa-3-primes", "ec-unknown-curve", "rsa-pss"}


def public_key_of(shell, path):
    """The DER public key as an outside tool says it."""
    if path.name.startswith("ssh-ed25519"):
        # ssh-keygen does not convert these: RFC 8410's prefix and the 32 bytes that end the line of the .pub file.
        blob = base64.b64decode(path.with_suffix(".pub").read_text().split()[1])
        return bytes.fromhex("302a300506032b6570032100") + blob[-32:]
    if path.name.startswith("ssh"):
        return shell(f"ssh-keygen -e -m PKCS8 -f {path}.pub | openssl pkey -pubin -outform DER")
    form = "-ec_conv_form uncompressed" if path.name.startswith("ec") else ""
    return shell(f"openssl pkey -in {path} -passin env:P -pubout -outform DER {form}")


def test_facts_are_those_of_outside_tools(ask, foreign, formats, shell):
    answers = ask({str(path): formats[name][1] for name, path in foreign.items()})
    for name, path in foreign.items():
        _command, passphrase, algorithm, container = formats[name]
        answer = answers[str(path)]
        assert (answer.get("algorithm"), answer.get("container")) == (algorithm, container), (name, answer)
        assert answer["encrypted"] == (passphrase is not None), name
        assert answer["usage"] is None, name
        if name != "rsa-pss":
            assert answer["public_key"] == public_key_of(shell, path).hex(), name
        assert answer["key_id"] == hashlib.sha256(bytes.fromhex(answer["public_key"])).hexdigest(), name
        if name not in NOT_USABLE and not name.startswith(("rsa-1024", "dsa", "ssh-ed25519-aes")):
            assert answer.get("same") is True, (name, answer)


def test_an_rsassa_pss_key_has_the_key_id_of_its_numbers(foreign, shell):
    facts = file.facts_of(foreign["rsa-pss"].read_bytes())
    modulus = shell(f"openssl rsa -in {foreign['rsa-pss']} -noout -modulus").decode().strip().split("=")[1]
    assert facts.public_key == identity.rsa_public_key(int(modulus, 16), 65537)


def test_wrong_and_missing_passphrases(ask, foreign, formats):
    encrypted = {name: path for name, path in foreign.items() if formats[name][1] and not name.startswith("ssh")}
    assert len(encrypted) > 5
    for passphrase in (None, "wrong", ""):
        answers = ask({str(path): passphrase for path in encrypted.values()})
        assert {answer["error"] for answer in answers.values()} == {"WrongPassphrase"}


def test_a_damaged_encrypted_key_is_a_wrong_passphrase_or_unreadable(foreign, formats):
    data = bytearray(foreign["ec-aes-sha512"].read_bytes())
    data[-20] ^= 1
    with pytest.raises(KeyUnreadable):
        file.facts_of(bytes(data), formats["ec-aes-sha512"][1])


def test_a_passphrase_for_a_key_without_one_is_ignored(foreign):
    assert file.facts_of(foreign["rsa-pkcs8"].read_bytes(), "any").algorithm == "rsa-2048"


def test_only_a_file_with_other_things_in_it_is_not_only_a_key(foreign):
    file.check_only_key(foreign["ec-sec1-with-parameters"].read_bytes())
    file.check_only_key(foreign["rsa-pkcs8-der"].read_bytes())
    with pytest.raises(KeyUnreadable):
        file.check_only_key(foreign["with-certificate"].read_bytes())


BAD = {
    "empty": lambda good: b"",
    "blank": lambda good: b" \n",
    "garbage": lambda good: bytes(range(256)) * 8,
    "text": lambda good: b"not a key\n",
    "truncated pem": lambda good: good[: len(good) // 2],
    "truncated in the end line": lambda good: good[:-5],
    "two keys": lambda good: good + good,
    "public key": lambda good: good.replace(b"PRIVATE", b"PUBLIC"),
    "certificate label": lambda good: good.replace(b"PRIVATE KEY", b"CERTIFICATE"),
    "wrong label": lambda good: good.replace(b"PRIVATE KEY", b"RSA PRIVATE KEY"),
    "encrypted label": lambda good: good.replace(b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY"),
    "openssh label": lambda good: good.replace(b"PRIVATE KEY", b"OPENSSH PRIVATE KEY"),
    "not base64": lambda good: good.replace(b"M", b"*", 1),
    "base64 with a hole": lambda good: good[:40] + good[44:],
    "null bytes": lambda good: bytes(4096),
    "deep": lambda good: b"\x30\x80" * 5000,
    "long length": lambda good: b"\x30\x84\xff\xff\xff\xff",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_unreadable(foreign, name):
    data = BAD[name](foreign["rsa-pkcs8"].read_bytes())
    for call in (file.facts_of, file.load, file.is_encrypted):
        with pytest.raises(KeyUnreadable):
            call(data, *([] if call is file.is_encrypted else ["any"]))


@pytest.mark.parametrize("name", ["rsa-pkcs8-der", "rsa-pkcs1-der", "ec-no-public", "ed448", "ec-aes-sha512"])
def test_every_truncation_and_trailing_byte_is_unreadable(foreign, formats, name):
    data = foreign[name].read_bytes()
    for size in range(0, len(data), max(1, len(data) // 60)):
        with pytest.raises(KeyUnreadable):
            file.load(data[:size], formats[name][1])
    with pytest.raises(KeyUnreadable):
        file.load(data + b"\0", formats[name][1])


def test_flipped_bytes_never_end_in_another_error(foreign, formats):
    """Each either reads (a flipped private number: the full check finds it) or is one of our errors."""
    for name in ("ec-sec1-with-parameters", "rsa-pkcs8-der", "x25519", "ssh-ec", "dsa"):
        data = foreign[name].read_bytes()
        for place in range(0, len(data), max(1, len(data) // 80)):
            changed = data[:place] + bytes([data[place] ^ 0x15]) + data[place + 1 :]
            try:
                file.check_fully(file.load(changed, formats[name][1]))
            except KeyopsError:
                continue


def test_the_library_s_words_stay_inside(foreign):
    with pytest.raises(KeyUnreadable) as caught:
        file.facts_of(foreign["rsa-pkcs8"].read_bytes().replace(b"M", b"*", 1))
    assert len(str(caught.value)) < 200


def test_round_trip_with_and_without_a_passphrase():
    for key in generate([("rsa-2048", "key_transport"), ("ec-p256", "signature"), ("x448", "key_agreement")]):
        for passphrase in (None, "pass wörd"):
            data = file.serialize(key, passphrase)
            again = file.load(data, passphrase)
            assert again.pkcs8 == key.pkcs8
            assert again.facts.bound_usage == key.facts.bound_usage
            assert file.is_encrypted(data) == (passphrase is not None)


def test_two_encryptions_differ():
    (key,) = generate([("ec-p256", "signature")])
    assert file.serialize(key, "p") != file.serialize(key, "p")


def test_with_usage_replaces_the_usage_and_keeps_other_attributes():
    (key,) = generate([("ec-p256", "signature")])
    info = pkcs8.parse(key.pkcs8)
    friendly = der.read(
        der.write(der.SEQUENCE, der.oid("1.2.840.113549.1.9.20"), der.write(der.SET, der.write(0x1E, b"\0n")))
    )
    both = pkcs8.PrivateKeyInfo(info.kind, info.parameters, info.key, (friendly, *info.attributes))
    changed = file.with_usage(file.load(pkcs8.compose(both)), "key_agreement")
    assert changed.facts.bound_usage == "key_agreement"
    assert pkcs8.parse(changed.pkcs8).attributes[0].whole == friendly.whole
    assert len(pkcs8.parse(changed.pkcs8).attributes) == 2


def swapped_ec():
    """An EC key whose public field is another key's."""
    mine, other = (pkcs8.parse(key.pkcs8) for key in generate([("ec-p256", "key_agreement")] * 2))
    fields, foreign_fields = der.read_sequence(mine.key), der.read_sequence(other.key)
    inner = der.write(der.SEQUENCE, *(field.whole for field in (*fields[:-1], foreign_fields[-1])))
    return pkcs8.compose(pkcs8.PrivateKeyInfo(mine.kind, mine.parameters, inner, mine.attributes))


def altered_rsa(place):
    """An RSA key in which one number (1: modulus ... 8: coefficient) is that of another key."""
    mine, other = (pkcs8.parse(key.pkcs8) for key in generate([("rsa-2048", "key_transport")] * 2))
    fields, foreign_fields = der.read_sequence(mine.key), der.read_sequence(other.key)
    fields[place] = foreign_fields[place]
    inner = der.write(der.SEQUENCE, *(field.whole for field in fields))
    return pkcs8.compose(pkcs8.PrivateKeyInfo(mine.kind, mine.parameters, inner, mine.attributes))


def test_halves_that_do_not_belong_together_are_found(ask, tmp_path):
    made = {"ec": swapped_ec(), **{f"rsa-{place}": altered_rsa(place) for place in (1, 3, 4, 6, 8)}}
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    answers = ask({str(tmp_path / name): None for name in made})
    for name in made:
        answer = answers[str(tmp_path / name)]
        assert "error" not in answer, name
        assert answer.get("check") == "KeyUnreadable", name


def test_pkcs8_version_2_is_read_and_compared_and_written_as_version_0(shell):
    (key,) = generate([("ed25519", "signature")])
    info = pkcs8.parse(key.pkcs8)
    public = der.read_sequence(key.facts.public_key)[1].bits()

    def version_2(public):
        fields = der.read_sequence(key.pkcs8)
        stated = der.write(0x81, b"\0", public)
        return der.write(der.SEQUENCE, der.write_integer(1), *(field.whole for field in fields[1:]), stated)

    assert file.load(version_2(public)).pkcs8 == key.pkcs8 == pkcs8.compose(info)
    shell("openssl pkey -inform DER -noout -check", file.load(version_2(public)).pkcs8)
    with pytest.raises(KeyUnreadable):
        file.load(version_2(bytes(32)))


def test_an_ec_key_without_a_named_curve_says_what_to_do(shell):
    data = shell("openssl ecparam -name P-256 -genkey -noout -param_enc explicit")
    with pytest.raises(KeyUnreadable, match="named_curve"):
        file.facts_of(data)


@pytest.mark.parametrize("iterations", [0, 20_000_001, 2**40])
def test_unreasonable_work_is_refused(foreign, formats, iterations):
    """A file cannot ask for hours of work."""

    def changed(element):
        if element.tag == der.SEQUENCE:
            return der.write(der.SEQUENCE, *(changed(child) for child in element.children()))
        return der.write_integer(iterations) if element.tag == der.INTEGER else element.whole

    with pytest.raises(KeyUnreadable, match="unreasonable"):
        file.facts_of(changed(der.read(foreign["ec-aes-sha512"].read_bytes())), formats["ec-aes-sha512"][1])


def test_no_secret_in_a_repr():
    (key,) = generate([("x25519", "key_agreement")])
    info = pkcs8.parse(key.pkcs8)
    secret = der.read(info.key).body
    for text in (repr(key), repr(info), repr(file._find(key.pkcs8))):
        assert repr(secret)[2:-1] not in text
        assert secret.hex() not in text
