# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Key pairs on a token: how they come to be, and how they go. What they are: templates.py.

Invariants:

- What the token says of a new key is read and compared; a key that came out otherwise is destroyed at once.
- A pair is made in the session and copied to the token when it is complete. So its ID can be its key ID's begin, and a
  killed run leaves nothing but, at most, a public half: the public half is written first and destroyed last. A private
  key without its public half never comes from here.
- A copy gets its label together with its last attributes. Where a token copies in several steps, what a killed run has
  left has the label UNFINISHED, and the next run takes it away.
- One process at a time works with a library (``locked``): SoftHSM answers with errors while another process logs in.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils import _files, _folders
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import (
    AlgorithmError,
    FileError,
    TokenError,
    TokenMisbehaved,
)
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens import objects, templates
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.library import name_of
from ansible_collections.keyops.lifecycle.plugins.module_utils._tokens.objects import TokenObject

# Whoever works on a token has loaded its library, and that says what is missing.
with contextlib.suppress(ImportError):
    from pkcs11 import Attribute, KeyType, ObjectClass, PKCS11Error
    from pkcs11.mechanisms import Mechanism

#: Not every token knows these; where it refuses a template, it is asked again without them.
_UNCOMMON = ("SIGN_RECOVER", "VERIFY_RECOVER")
#: Algorithm to the name of its curve's parameters: the OID in DER (RFC 5480, RFC 8410).
_CURVES = {
    "ec-p256": "06082a8648ce3d030107",
    "ec-p384": "06052b81040022",
    "ec-p521": "06052b81040023",
    "ed25519": "06032b6570",
    "x25519": "06032b656e",
}
#: Tokens have many answers for it.
PERHAPS_FULL = "; perhaps it is full: make room on it, and run again"
#: Label of what is not on the token yet.
UNFINISHED = "keyops-unfinished"
ALGORITHMS = ("rsa-2048", "rsa-3072", "rsa-4096", *_CURVES)


@dataclass(frozen=True)
class NewKey:
    """A key that is to be made.

    Attributes:
        algorithm: one of ALGORITHMS.
        usage: one of the five.
        label: of both halves.
        object_id: of both halves; None for the first 20 bytes of the key ID.
        extractable: whether other keys of the token may wrap it. Never in clear.
        unwraps: whether it may unwrap keys into the token; for ``key_transport`` only.
    """

    algorithm: str
    usage: str
    label: str
    object_id: bytes | None = None
    extractable: bool = False
    unwraps: bool = False


@dataclass(frozen=True)
class Pair:
    """The two halves of a key. ``public`` is None where the token has none."""

    private: TokenObject
    public: TokenObject | None = field(compare=False)


def check_can_make(token: Any, algorithm: str) -> None:
    """Raise AlgorithmError unless the token has what makes keys of this algorithm."""
    if algorithm not in ALGORITHMS:
        raise AlgorithmError(f"algorithm: {algorithm} is not made on tokens; choose one of {', '.join(ALGORITHMS)}")
    try:
        there = {int(one) for one in token.slot.get_mechanisms()}
        wanted = _mechanism(algorithm)
        possible = int(wanted) in there
        if possible and algorithm.startswith("rsa-"):
            largest = int(token.slot.get_mechanism_info(wanted).max_key_length)
            possible = int(algorithm[4:]) <= largest or not largest
    except PKCS11Error as error:
        raise TokenError(f"asking the token for its mechanisms: it answers {name_of(error)}") from error
    if not possible:
        raise AlgorithmError(f"algorithm: the token makes no keys of the type {algorithm}; choose another, or a token")


def _mechanism(algorithm: str) -> Any:
    if algorithm.startswith("rsa-"):
        return Mechanism.RSA_PKCS_KEY_PAIR_GEN
    return Mechanism.EC_EDWARDS_KEY_PAIR_GEN if "25519" in algorithm else Mechanism.EC_KEY_PAIR_GEN


class Draft:
    """A key pair that exists in the session only: gone with it, unless it is kept.

    Attributes:
        new: what was asked for.
        public_key: DER SubjectPublicKeyInfo.
        key_id, object_id: of the key; the object ID in bytes.
    """

    def __init__(self, session: Any, new: NewKey, signs: bool = False) -> None:
        """Make the pair.

        Args:
            session: writable, with the user logged in.
            signs: a nonsigning key may sign until it is kept, for its own certificate request.

        Raises:
            AlgorithmError: the token does not make such keys.
        """
        self.new, self._signs = new, signs
        self._public, self.private = _generate(session, new, signs)
        told = objects.read(self._public)
        if told.public_key is None:
            raise TokenMisbehaved(f"the token does not tell the public half of the new key {new.label!r}")
        self.public_key: bytes = told.public_key
        self.key_id = hashlib.sha256(self.public_key).hexdigest()
        self.object_id = new.object_id or bytes.fromhex(self.key_id)[:20]

    def keep(self) -> Pair:
        """Copy both halves to the token, the public one first, and read the private one back.

        Raises:
            TokenMisbehaved: the key came out otherwise than asked for; it is not there any more.
            TokenError: the token refuses, or is full; nothing is left of the key.
        """
        label, kept = self.new.label, []
        place = {Attribute.TOKEN: True, Attribute.LABEL: label, Attribute.ID: self.object_id}
        try:
            if self._signs:
                self.private[Attribute.SIGN] = False
                self._public[Attribute.VERIFY] = False
            for half in (self._public, self.private):
                kept.append(half.copy({**place, Attribute.MODIFIABLE: False}))
            private = objects.read(kept[1], self.public_key)
            templates.check(private, self.new.usage, self.new.extractable, self.new.unwraps)
        except (PKCS11Error, TokenMisbehaved) as error:
            for one in reversed(kept):
                one.destroy()
            if isinstance(error, TokenMisbehaved):
                raise
            raise TokenError(f"writing the key {label!r}: the token answers {name_of(error)}{PERHAPS_FULL}") from error
        for half in (self.private, self._public):
            half.destroy()
        return Pair(private, objects.read(kept[0], self.public_key))


def _generate(session: Any, new: NewKey, signs: bool) -> tuple[Any, Any]:
    """A pair of session objects that can be changed, with the usage's attributes from the first moment."""
    changed = {Attribute.TOKEN: False, Attribute.MODIFIABLE: True}
    private = {**templates.private_template(new.usage, new.extractable, signs, new.unwraps), **changed}
    public = {**templates.public_template(new.usage), **changed}
    if signs:
        public[Attribute.VERIFY] = True  # some tokens try a new pair: what signs must verify
    try:
        return _tried_twice(lambda left_out: _pair_of(session, new, _less(public, left_out), _less(private, left_out)))
    except PKCS11Error as error:
        raise AlgorithmError(
            f"algorithm: the token does not make a key of the type {new.algorithm} for {new.usage} "
            f"({name_of(error)}); choose another, or a token"
        ) from error


def _pair_of(session: Any, new: NewKey, public: dict, private: dict) -> tuple[Any, Any]:
    if new.algorithm.startswith("rsa-"):
        made = session.generate_keypair(
            KeyType.RSA, int(new.algorithm[4:]), label=UNFINISHED, public_template=public, private_template=private
        )
    else:
        key_type = KeyType.EC_EDWARDS if "25519" in new.algorithm else KeyType.EC
        curve = {Attribute.EC_PARAMS: bytes.fromhex(_CURVES[new.algorithm])}
        parameters = session.create_domain_parameters(key_type, curve, local=True)
        made = parameters.generate_keypair(
            label=UNFINISHED, mechanism=_mechanism(new.algorithm), public_template=public, private_template=private
        )
    return made


def _tried_twice(make: Callable[[tuple[str, ...]], Any]) -> Any:
    try:
        return make(())
    except PKCS11Error as error:
        if name_of(error) not in ("AttributeTypeInvalid", "TemplateInconsistent", "AttributeValueInvalid"):
            raise
        return make(_UNCOMMON)


def _less(template: dict, names: tuple[str, ...]) -> dict:
    left_out = {getattr(Attribute, name) for name in names}
    return {name: value for name, value in template.items() if name not in left_out}


def destroy(pair: Pair) -> None:
    """Destroy both halves, the private one first: a public half alone is taken away by the next run.

    Raises:
        TokenError: the token refuses.
    """
    for half in (pair.private, pair.public):
        if half is not None:
            destroy_object(half)


def destroy_object(one: TokenObject) -> None:
    """Destroy one object.

    Raises:
        TokenError: the token refuses.
    """
    try:
        one.handle.destroy()
    except PKCS11Error as error:
        raise TokenError(f"destroying the key {one.label!r}: the token answers {name_of(error)}") from error


def is_orphan(one: TokenObject, private_ids: set[str], given_id: str = "") -> bool:
    """Whether the object is a public half that a killed run left: made here, and without its private half.

    Somebody's public key that was put on the token under the same label is none: only a key that is made here carries
    its own key ID (or the one that was given, in hex) and cannot be modified.
    """
    if one.kind != "public_key" or one.object_id in private_ids or one.attributes.get("modifiable", True):
        return False
    return bool(one.key_id) and one.object_id in (str(one.key_id)[:40], given_id)


def is_part(one: TokenObject) -> bool:
    """Whether the object is what an ended run left of a private key: written here, and without the key.

    It is sensitive and cannot be modified, as every key from here, and the token says that it has no numbers.
    """
    told = one.attributes
    return one.unfinished and not told.get("modifiable", True) and bool(told.get("sensitive"))


def remove_unwritten(session: Any) -> None:
    """Remove what SoftHSM keeps of a half when it is killed as it begins to write it: its type, and little else.

    Such an object does not even say that it is the token's, so ``objects.survey`` does not see it. No key is like it:
    it has no label, no ID and no numbers.
    """
    nothing = {Attribute.TOKEN: False, Attribute.LABEL: "", Attribute.ID: b""}
    for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
        with contextlib.suppress(PKCS11Error):  # a token that cannot search like this has none
            for one in list(session.get_objects({Attribute.CLASS: kind, **nothing})):
                if not one[_number_of(kind, one[Attribute.KEY_TYPE])]:
                    one.destroy()


def _number_of(kind: Any, key_type: Any) -> Any:
    if key_type == KeyType.RSA:
        return Attribute.MODULUS
    return Attribute.EC_PARAMS if kind == ObjectClass.PRIVATE_KEY else Attribute.EC_POINT


#: Seconds to wait for another process. A task that makes many RSA keys on a slow token takes minutes.
_PATIENCE = 900
#: Process, state folder and library of the locks that are held here.
_HELD: set[tuple[int, str, str]] = set()


@contextlib.contextmanager
def all_locked(state_dir: str | None, libraries: Iterable[str]) -> Iterator[None]:
    """``locked`` for every library of a task, in one order for all tasks, so that two never wait for each other.

    Without a state folder nothing is locked.
    """
    with contextlib.ExitStack() as locks:
        for library in sorted({os.path.realpath(one) for one in libraries} if state_dir else ()):
            locks.enter_context(locked(str(state_dir), library))
        yield


@contextlib.contextmanager
def locked(state_dir: str, library: str) -> Iterator[None]:
    """One process at a time, of all that share this state folder, works with the library at this path.

    A library has one lock, however its path is written. A block within another one for the same library holds what that
    holds already.

    Raises:
        FileError: the state folder cannot be used, or another process holds the lock for too long.
    """
    real = os.path.realpath(library)
    held = (os.getpid(), state_dir, real)
    if held in _HELD:
        yield
        return
    folder = os.path.join(state_dir, "locks")
    for one in (state_dir, folder):
        _files.make_private_folder(one)
    name = hashlib.sha256(real.encode()).hexdigest()[:32]
    with _folders.opened(folder, to_write=True) as descriptor:
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=descriptor)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise FileError(f"{folder}/{name} is no file: remove it, and find out who made it")
        _wait_for(file, f"{folder}/{name}", library)
        _HELD.add(held)
        yield
    finally:
        _HELD.discard(held)
        os.close(file)


def _wait_for(file: int, path: str, library: str) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > end:
                raise FileError(
                    f"another process has worked with {library} for {_PATIENCE // 60} minutes; see which one holds "
                    f"{path}, end it, and run again"
                ) from error
        time.sleep(0.02)
