# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Leak hunt: the whole story over SSH, as talkative as Ansible can be, then a search for every secret everywhere."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import re
import subprocess
import tarfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from leak_hunt import bad_input, data_story, key_numbers, rotation_story, short_secrets, story
from leak_hunt.fleet import Fleet
from leak_hunt.hunter import Haystack, Hit, search
from leak_hunt.needles import Secret
from leak_hunt.plant import Planted
from leak_hunt.watch import Capture, Sampler, Syslog
from leak_hunt.world import NASTY, World


@dataclass
class Hunted:
    """The world after the story, and all hits of the search."""

    world: World
    planted: Planted
    rotation: rotation_story.Rotation
    bad: list[str]
    short: short_secrets.ShortKeys
    hits: list[Hit] = field(default_factory=list)
    searched: list[tuple[str, int]] = field(default_factory=list)

    @property
    def leaked(self) -> list[Hit]:
        """Hits in places where the secret does not belong, but for what was planted."""
        found = [hit for hit in self.hits if not hit.secret.startswith("planted: ")]
        return [hit for hit in found if not _belongs(self.world, hit)]


@pytest.fixture(name="hunted", scope="module")
def _hunted() -> Iterator[Hunted]:
    with Fleet("leak", 2) as fleet:
        world = World(fleet)
        planted = Planted(world)
        traffic = Capture(fleet, world.base / "search/traffic.pcap")
        with traffic, Sampler(fleet) as sampler, Syslog(fleet) as syslog:
            story.play(world)
            data_story.play(world)
            rotation = rotation_story.play(world)
            story.be_killed(world)
            bad = bad_input.play(world)
            short = short_secrets.play(world, story.passphrase_of(world, "host2 signature"))
            planted.during_the_story()
        story.add_shares(world)
        hunted = Hunted(world, planted, rotation, bad, short)
        with planted.afterwards():
            sources = [world.haystacks(), traffic.haystacks(), sampler.haystacks(), syslog.haystacks()]
            sources += [fleet.haystacks(host, world.prepared) for host in fleet.hosts]
            haystacks = _counted(itertools.chain(*sources), hunted.searched)
            hunted.hits = search(haystacks, world.secrets, world.base / "search")
        world.end()
        yield hunted


def _counted(haystacks: Iterator[Haystack], searched: list[tuple[str, int]]) -> Iterator[Haystack]:
    for item in haystacks:
        searched.append((item.place, len(item.data)))
        yield item


def _belongs(world: World, hit: Hit) -> bool:
    if hit.secret == "the option vault":
        return not hit.place.startswith(("host", "traffic", "temporary file host"))
    places = set().union(*(places for name, places in world.belongs.items() if hit.secret.startswith(name)))
    return hit.place in places


def _told(hits: list[Hit]) -> str:
    return "\n".join(f"{hit.place}: {hit.secret} ({hit.encoding}) after {hit.before!r}" for hit in hits)


def test_nothing_leaked(hunted: Hunted) -> None:
    kinds = [secret.kind for secret in hunted.world.secrets]
    size = sum(size for _place, size in hunted.searched) // 2**20
    print(f"searched {len(hunted.searched)} places, {size} MiB, for {len(kinds)} secrets")
    assert kinds.count("number") > 80
    assert kinds.count("text") > 30
    assert not hunted.leaked, _told(hunted.leaked)


def test_every_planted_leak_is_found(hunted: Hunted) -> None:
    found = {(hit.secret, hit.place) for hit in hunted.hits}
    missed = [
        name
        for name, begin in hunted.planted.places.items()
        if not any(secret == name and place.startswith(begin) for secret, place in found)
    ]
    assert not missed


def test_every_secret_is_found_where_it_belongs(hunted: Hunted) -> None:
    searched = {place for place, _size in hunted.searched}
    found: dict[str, set[str]] = {hit.place: set() for hit in hunted.hits}
    for hit in hunted.hits:
        found[hit.place].add(hit.secret)
    for name, places in hunted.world.belongs.items():
        for place in places:
            if place.startswith("controller/") and place in searched:
                assert name in found.get(place, ()), f"{name} was not found in {place}: the hunt is blind"
    for name, usage, algorithm, protected, _nasty in story.KEYS["host1"]:
        if not protected:
            place = f"host1 /etc/keyops/{name}.key"
            assert any(secret.startswith(f"host1 {name}.key ") for secret in found[place]), (usage, algorithm)


def test_recovered_data_is_in_the_sealed_folder_only(hunted: Hunted) -> None:
    """That it is nowhere else, test_nothing_leaked sees, and that of the keys nothing is on host2."""
    for name in data_story.KEYS:
        hits = {hit.place for hit in hunted.hits if hit.secret == f"recovered {name}"}
        assert hits == {f"host2 {data_story.FOLDER}/mail/{name}"}


def test_rotated_keys_are_where_they_belong(hunted: Hunted) -> None:
    """In clear, old and new ones are in their own files only; the destroyed one is where it was planted only."""
    old, new = hunted.rotation.old, hunted.rotation.new
    files = {("agreement", old["agreement"]): f"/etc/keyops/agreement.key.{old['agreement'][:16]}"}
    files |= {(name, new[name]): f"/etc/keyops/{name}.key" for name in ("agreement", "seal")}
    files[("seal", old["seal"])] = rotation_story.PLANTED
    for (name, key_id), place in files.items():
        hits = {hit.place for hit in hunted.hits if hit.secret.startswith(f"host1 {name}.key {key_id[:8]}:")}
        assert hits == {f"host1 {place}"}, name
    known = {secret.name.split(":")[0] for secret in hunted.world.secrets}
    assert known >= {f"host1 {name}.key {ids[name][:8]}" for ids in (old, new) for name in ids}


def test_what_a_rotation_remembers_was_searched(hunted: Hunted) -> None:
    remembered = re.compile(r"temporary file host1 .*/var/lib/keyops/rotations/[0-9a-f]{32}\.json")
    found = [size for place, size in hunted.searched if remembered.fullmatch(place)]
    assert len(found) == len(rotation_story.KEYS)
    assert min(found) > 0


def test_no_message_about_bad_input_repeats_it(hunted: Hunted) -> None:
    for name in hunted.bad:
        results = hunted.world.results(name)
        assert results, name
        for result in results:
            assert result["msg"] and result["error_class"] != "InternalError", result
    assert not [hit for hit in hunted.leaked if hit.secret.startswith("bad input")]


def test_short_passphrases_destroy_nothing_and_show_nowhere(hunted: Hunted) -> None:
    short, world = hunted.short, hunted.world
    for task in ("Short look", "Short archive", "Short recovery"):
        (result,) = world.results(task)
        assert [row["key_id"] for row in result["results"]] == list(short.key_ids.values()), task
        assert "****" not in json.dumps(result)
        invocation = result.pop("invocation")["module_args"]
        assert "VALUE_SPECIFIED" not in json.dumps(result), task
        assert {item["passphrase"] for item in invocation["keys"]} == {"VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"}
    _check_short_files(hunted)
    run = next(name for name in world.runs if name.endswith("short"))
    # Key IDs, digests and base64 are public, and may contain anything.
    text = re.sub(r"[A-Za-z0-9+/=]{16,}", "", (world.base / "out" / run).read_text())
    for secret in (*short.passphrases.values(), short.requester):
        if len(secret) >= 6:
            assert secret not in text, f"...{text[max(0, text.index(secret) - 80) : text.index(secret)]}"
        assert f'"{secret}"' not in text
        assert f"'{secret}'" not in text


def _check_short_files(hunted: Hunted) -> None:
    """Judged by openssl: the public key in the file, in the request, and in what the module returned."""
    folder = hunted.world.fleet.root("host2") / "etc/keyops"
    (look,) = hunted.world.results("Short look")
    for row, (name, key_id) in zip(look["results"], hunted.short.key_ids.items()):
        path = folder / f"{name}.key"
        opened = _openssl("pkey", "-in", path, "-passin", "stdin", "-pubout", stdin=hunted.short.passphrases[name])
        for pem in (opened, row["public_key"].encode()):
            assert hashlib.sha256(_der(pem)).hexdigest() == key_id
    _openssl("req", "-verify", "-noout", "-in", folder / "short.csr")


def _der(pem: bytes) -> bytes:
    return base64.b64decode(b"".join(line for line in pem.splitlines() if not line.startswith(b"-----")))


def _openssl(*arguments: object, stdin: str = "") -> bytes:
    done = subprocess.run(
        ["openssl", *map(str, arguments)], input=stdin.encode() + b"\n", capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


_KEYS = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ec": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}
_FORMATS = (
    serialization.PrivateFormat.PKCS8,
    serialization.PrivateFormat.TraditionalOpenSSL,
    serialization.PrivateFormat.OpenSSH,
)


@pytest.mark.parametrize("kind", _KEYS)
def test_a_key_is_found_however_it_is_written(kind: str, tmp_path: Path) -> None:
    key = _KEYS[kind]()
    names = {secret.name for secret in key_numbers.secrets_of("key", key)}
    for number, data in enumerate(_spellings(key)):
        hits = search([Haystack("x", b"noise " + data + b" noise")], key_numbers.secrets_of("key", key), tmp_path)
        found = {hit.secret for hit in hits}
        # OpenSSH's own format of an RSA key leaves dP and dQ out.
        assert found >= names - {"key: RSA dP", "key: RSA dQ"}, (number, data[:60], names - found)


def _spellings(key: object) -> Iterator[bytes]:
    pems = []
    for form in _FORMATS:
        if form is _FORMATS[1] and isinstance(key, ed25519.Ed25519PrivateKey):
            continue
        pems.append(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    for pem in pems:
        der = _der(pem)
        text = base64.b64encode(der).decode()
        yield from (pem, der, json.dumps(pem.decode()).encode(), repr(pem).encode(), base64.b64encode(pem))
        yield json.dumps(json.dumps(pem.decode())).encode()
        yield from (
            der.hex().encode(),
            der.hex().upper().encode(),
            der.hex(":").encode(),
            der[::-1],
            repr(der).encode(),
        )
        yield from ("\n".join(textwrap.wrap(text, width)).encode() for width in (17, 60, 76))
        yield base64.urlsafe_b64encode(b"x" + der)
        yield base64.b64encode(b"yy" + der)
    pkcs8 = pems[0]
    yield _openssl("pkey", "-text", "-noout", stdin=pkcs8.decode())
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.private_numbers()
        yield f"{numbers.p} {numbers.q} {numbers.d} {numbers.iqmp}".encode()


@pytest.mark.parametrize("text", ["correct horse", f"ab{NASTY}yz"])
def test_a_passphrase_is_found_however_it_is_written(text: str, tmp_path: Path) -> None:
    spellings = [text, json.dumps({"a": text}), json.dumps(json.dumps([text])), repr([text]), text.encode().hex()]
    spellings += [base64.b64encode(b"." * shift + text.encode() + b"..").decode() for shift in range(3)]
    for spelling in spellings:
        hits = search([Haystack("x", spelling.encode())], [Secret("p", text.encode(), "text")], tmp_path)
        assert hits, spelling


def test_a_long_run_of_backslashes_is_searched_as_fast_as_anything(tmp_path: Path) -> None:
    """Other tests leave such files in /tmp; the time for a run grew with its square: hours for this one."""
    run = b"\\" * 1_000_000
    hits = search([Haystack("x", run + b"correct\\\\n horse")], [Secret("p", b"correct horse", "text")], tmp_path)
    assert {hit.place for hit in hits} == {"x"}


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_file_that_changes_while_it_is_packed_is_no_error(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """tar ends with 1 then, and what it has read is searched; whatever else it ends with is told with its reason."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("./etc/a")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    done = subprocess.CompletedProcess([], code, packed.getvalue(), b"tar: what happened")
    monkeypatch.setattr("leak_hunt.fleet.subprocess.run", lambda *_arguments, **_options: done)
    monkeypatch.setattr(Fleet, "_outer", lambda *_arguments: 1)
    found = Fleet("none", 1)._packed("host1", "/upper", "", 0.0)
    if code < 2:
        assert next((item.place, item.data) for item in found) == ("host1 /etc/a", b"x")
    else:
        with pytest.raises(AssertionError, match="ended with 2: tar: what happened"):
            list(found)


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    other = rsa.generate_private_key(65537, 2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    secrets = [*key_numbers.secrets_of("key", key), Secret("p", b"correct horse", "text")]
    spellings = [public, b"correct house", *_spellings(other)]
    assert not search([Haystack("x", data) for data in spellings], secrets, tmp_path)
