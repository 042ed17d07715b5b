# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One tree of errors, grouped by whose fault it is.

Every error has a class of its own where a caller, a test or a playbook may want to tell it apart; nobody matches
message texts. A message names the option or the object and the remedy, and never holds a secret.

The thin layers (``_module.py`` on a host, ``lifecycle_action.py`` on the controller) turn a ``KeyopsError`` into one
failed task result with ``msg`` and ``error_class``.
"""

from __future__ import annotations

#: Import errors of libraries that this process wanted; ``require_libraries`` turns them into one clear error.
_missing_libraries: list[ImportError] = []


def note_missing_library(error: ImportError) -> None:
    """Remember that a library is missing; the module reports it before it does anything (see require_libraries)."""
    _missing_libraries.append(error)


def require_libraries() -> None:
    """Raise MissingLibrary if any import that this process has made failed.

    Raises:
        MissingLibrary: with the names of the libraries and how to install them.
    """
    if _missing_libraries:
        names = sorted({(error.name or str(error)).split(".")[0] for error in _missing_libraries})
        raise MissingLibrary(names)


class KeyopsError(Exception):
    """The root: something that the user is told in one sentence."""


# --- the user's: options and input -----------------------------------------------------------------------------------


class OptionError(KeyopsError):
    """An option or a combination of options is wrong; nothing was changed."""


class RecoveryGroupError(OptionError):
    """A recovery group cannot work: threshold, agents or certificates."""


class KeyReferenceError(OptionError):
    """A key reference is neither an absolute path nor a supported URI."""


class AlgorithmError(OptionError):
    """The algorithm is unknown, or cannot have the usage."""


class PolicyError(OptionError):
    """A policy has mistakes; the message names all of them, each with its place."""


# --- the host's: files, libraries, state -------------------------------------------------------------------------


class HostError(KeyopsError):
    """Something on the host stands in the way."""


class MissingLibrary(HostError):
    """A Python library is not installed where this runs."""

    def __init__(self, names: list[str] | str) -> None:
        """
        Args:
            names: as they are imported; or the message of such an error, with something put in front.
        """
        if isinstance(names, str):
            super().__init__(names)
            return
        # Debian has no package of python-pkcs11.
        packages = {"Cryptodome": ("python3-pycryptodome", "pycryptodomex"), "pkcs11": ("", "python-pkcs11")}
        found = [packages.get(name, ("python3-" + name, name)) for name in names]
        debian = " ".join(one[0] for one in found) + " (Debian) or " if all(one[0] for one in found) else ""
        pypi = " ".join(one[1] for one in found)
        super().__init__(
            f"Python libraries are missing for this interpreter: {', '.join(names)}. "
            f"Install {debian}{pypi} (PyPI), or run the role keyops.lifecycle.prepare."
        )


class FileError(HostError):
    """A file or folder cannot be read or written as asked."""


class FileMissing(FileError):
    """There is no such file, or no such folder."""


class KeyUnreadable(HostError):
    """There is something where the key should be, and it cannot be read as a private key. It is never overwritten."""


class HalvesDiffer(KeyUnreadable):
    """The public half that a token shows for a private key does not belong to it: it may have been exchanged."""


class WrongPassphrase(KeyUnreadable):
    """The key is encrypted, and the passphrase is missing or does not open it."""


class KeyExists(HostError):
    """There is another key already. No existing key is overwritten by default."""


class KeyNotFound(HostError):
    """There is no key at this reference."""


class StateError(HostError):
    """The host's own state (receipts, open requests) is missing or does not fit."""


class TokenError(HostError):
    """A PKCS#11 token refuses or fails."""


class TokenLibraryError(TokenError):
    """A PKCS#11 library is missing or does not start."""


class TokenMissing(TokenError):
    """There is no such token."""


class TokenAmbiguous(TokenError):
    """Several tokens fit."""


class WrongPin(TokenError):
    """The PIN is wrong, or was not tried because that could lock the token."""


class TokenNotEmpty(TokenError):
    """The token holds objects that would be lost."""


class TokenMisbehaved(TokenError):
    """A key on the token came out otherwise than it was asked for."""


class NotWrappable(TokenError):
    """The token cannot wrap this key, so it can never be archived from there."""


# --- refusals: what must not be done -----------------------------------------------------------------------------


class Refusal(KeyopsError):
    """The request is understood and refused, because one of the rules forbids it."""


class ArchiveRefusal(Refusal):
    """This key may not be archived."""


class SigningOnlyTypeRefused(ArchiveRefusal):
    """The type of the key can only sign (Ed25519, Ed448, DSA, RSASSA-PSS, ...)."""


class OpenSshKeyRefused(ArchiveRefusal):
    """The key is in OpenSSH's own format: it authenticates."""


class SshUseRefused(ArchiveRefusal):
    """The public key stands in authorized_keys or is a host key: it authenticates."""


class SigningUsageRefused(ArchiveRefusal):
    """The declared or bound usage signs or authenticates."""


class SigningAttributeRefused(SigningUsageRefused):
    """The key's attributes on its token let it sign (SIGN, SIGN_RECOVER)."""


class UnknownUsageRefused(ArchiveRefusal):
    """Nothing says what the key is for."""


class UsageAlgorithmRefused(ArchiveRefusal):
    """The key's algorithm cannot have this usage."""


class UsageConflictRefused(ArchiveRefusal):
    """The declared usage, the bound one and the receipt's do not agree."""


class EvidenceNotReadable(ArchiveRefusal):
    """Something in the key's own folder is or may be a certificate or request, and cannot be looked at."""


class DeclaredUsageOnlyRefused(ArchiveRefusal):
    """A key that was not made here has a declared usage and nothing that confirms it."""


class SigningCertificateRefused(ArchiveRefusal):
    """A certificate or request for this public key allows it to sign."""


class NoKeyUsageRefused(ArchiveRefusal):
    """A certificate or request for this public key has no key usage extension: it allows everything."""


class ExtendedKeyUsageRefused(ArchiveRefusal):
    """A certificate or request for this public key has an extended key usage that signs or authenticates, or any."""


class ForeignCertificateRefused(ArchiveRefusal):
    """A certificate that was named for this key belongs to another key."""


class SigningRegisterRefused(ArchiveRefusal):
    """The vault's signing register has this key: it was made to sign."""


class FrozenRefused(ArchiveRefusal):
    """The key is frozen: the vault holds evidence that it signed."""


class DestroyedRefused(ArchiveRefusal):
    """The key's archive was destroyed under dual control; its numbers stay taken."""


class RestoredNotWrappable(Refusal):
    """The key is archived otherwise than is wanted now (other groups, say), and its token gives it out no more."""


class PolicyRefused(Refusal):
    """The policy forbids it; the message names the rule, its value and its source."""


class UnsafeTokenRefused(Refusal):
    """A signing key is not put on a token that breaks what keeps it a signing key."""


class NotArchivedRefused(Refusal):
    """A nonsigning key may not be removed, replaced or certified before its archive is verified."""


# --- the other side's: formats that came from elsewhere ----------------------------------------------------------


class FormatError(KeyopsError):
    """Bytes from elsewhere do not have the one accepted form (see docs/formats.md)."""


class UnknownVersion(FormatError):
    """The format's version is not known to this release."""


class SignatureInvalid(FormatError):
    """A signed statement does not verify."""


class OpenError(FormatError):
    """A sealed message does not open with this key: wrong recipient, altered, or sealed in a weaker way."""


class DigestMismatch(FormatError):
    """Bytes do not have the digest that names them."""


# --- the vault's -------------------------------------------------------------------------------------------------


class VaultError(KeyopsError):
    """The vault cannot be used as asked."""


class VaultUnavailable(VaultError):
    """The vault does not answer, is locked or sealed."""


class VaultSealed(VaultUnavailable):
    """The vault server is sealed, and was not unsealed in time."""


class VaultForbidden(VaultError):
    """The vault refuses this credential."""


class VaultUnsafe(VaultError):
    """Others can reach the vault's file or folder."""


class NotAVault(VaultError):
    """The file is damaged, or is something other than a vault."""


class VaultFull(VaultUnavailable):
    """There is no room left for another object."""


class VaultReadOnly(VaultForbidden):
    """The vault was opened for reading, or can only be read."""


class DeclarativeOnly(VaultError):
    """The vault server takes this setting from its configuration file only."""


class ObjectNameError(VaultError):
    """A name or content that no vault takes."""


class ObjectNotFound(VaultError):
    """The vault has no object of this name."""


class VaultsDiffer(VaultError):
    """The destination of a migration has other objects than its source; nothing was overwritten."""


class VaultStillUsed(VaultError):
    """The source of a migration was written to after its last event said that it went elsewhere."""


class EventLogError(VaultError):
    """The event log does not verify."""


# --- recovery ----------------------------------------------------------------------------------------------------


class RecoveryError(KeyopsError):
    """A recovery step is refused."""


class RequestMismatch(RecoveryError):
    """The request is not the one that was agreed on: its ID, owner or keys differ."""


class RequestExpired(RecoveryError):
    """The request's time is over, or has not begun."""


class RequesterApproves(RecoveryError):
    """The requester's key is also an agent's key: nobody approves the own request."""


class NotOnOwnMachine(RecoveryError):
    """An approval is given on the agent's own machine only."""


class AgentUnknown(RecoveryError):
    """The record does not name this agent, or not with this key."""


class RecordMismatch(RecoveryError):
    """The record, the share and the request do not agree."""


class ShareMismatch(RecoveryError):
    """A share is not the one that was made for this key, group and agent."""


class ApprovalMismatch(RecoveryError):
    """An approval does not belong to this request, key or agent."""


class QuorumNotReached(RecoveryError):
    """Fewer than m valid approvals of one group."""


class WrappedKeyNotProven(RecoveryError):
    """Whoever made the share did not show that it knew the wrapped key in it: it may be out of another message."""


class FileNotAllowed(RecoveryError):
    """A key from a token may go into a file only when the agents allow it, each with ``allow_file``."""


class WrongKeyRecovered(RecoveryError):
    """What was opened is not the key that was asked for."""


class PossessionNotProven(RecoveryError):
    """The host could not prove that it holds the key that it wants to record."""


# --- recovery of data --------------------------------------------------------------------------------------------


class DataError(KeyopsError):
    """A message or file cannot be decrypted; reports name the class as the reason."""


class NotEncrypted(DataError):
    """There is nothing to decrypt: it is signed, compressed or plain."""


class NoKeyForData(DataError):
    """It is encrypted to others than the owners of the given keys: a generation of the key may be missing."""


class DataNotOpened(DataError):
    """The key does not open it, or it was altered. Which of the two is never told: that would make an oracle."""


class DataDamaged(DataError):
    """It cannot be read as what it is: cut off, or altered where that shows."""


class DataUnsupported(DataError):
    """It uses a way of encryption that this host's libraries do not have, or that is not read here."""


class DataTooLarge(DataError):
    """It is larger, or deeper, than one item may be."""
