# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Debian's ``ntfsdecrypt``, run so that the private key is never on a disk.

- The PKCS#12 file is nameless memory (``memfd_create``), encrypted; the password goes through a pipe, never through
  the command line or the environment. The program asks a terminal first, so it gets a session without one.
- The volume is opened by us, for reading; the program opens that same file by its descriptor, for reading too.
- It exits with 0 even when it stopped half way, so only the number of bytes that came out counts.
- It reads a volume that may be made up. It can write no more than the file should have, not use up the memory, and not
  run without end.
"""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

from ansible_collections.keyops.lifecycle.plugins.module_utils._data import efs_pfx
from ansible_collections.keyops.lifecycle.plugins.module_utils._errors import DataDamaged, FileError, HostError

PROGRAM = "ntfsdecrypt"
_PLACES = "/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin:/bin:/sbin"
_PROMPT = "Enter the password with which the private key was encrypted:"
_LEAST_SECONDS, _BYTES_PER_SECOND = 60, 1 << 20
_MOST_MEMORY = 2 << 30
_MOST_MESSAGES = 1 << 20


def require() -> str:
    """The program's path.

    Raises:
        HostError: it is not installed.
    """
    found = shutil.which(PROGRAM, path=_PLACES)
    if found is None:
        raise HostError(
            f"{PROGRAM} is not installed on this host: install ntfs-3g (Debian), or run the role "
            "keyops.lifecycle.prepare with keyops_efs: true"
        )
    return found


class Identity:
    """A private key with one of its certificates, as the program takes it; in memory until ``close``."""

    def __init__(self, private_key: Any, certificate: bytes, role: str) -> None:
        self.password = secrets.token_hex(16)
        self.descriptor = _memory("identity", efs_pfx.build(private_key, certificate, role, self.password))

    def close(self) -> None:
        os.close(self.descriptor)


def run(volume: int, number: int, size: int, identity: Identity, output: int) -> None:
    """Decrypt the file with this number into an empty file.

    Args:
        volume: descriptor of the volume.
        number: of the file's record.
        size: bytes that it must have.
        identity: who opens it.
        output: descriptor of the file to write.

    Raises:
        DataDamaged: less or more came out; with the last thing that the program said.
        FileError: the disk is full.
    """
    with _messages() as messages:
        command = [require(), "-i", str(number), "-k", _by_descriptor(identity.descriptor), _by_descriptor(volume)]
        process = subprocess.Popen(  # noqa: S603  # no shell; every argument is ours
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=messages,
            env={"PATH": _PLACES, "LC_ALL": "C.UTF-8"},
            pass_fds=(identity.descriptor, volume),
            start_new_session=True,
        )
        try:
            # It waits for the password, so the limits are there before it reads the volume.
            _limit(process.pid, size)
            process.communicate(identity.password.encode() + b"\n", timeout=_LEAST_SECONDS + size / _BYTES_PER_SECOND)
            said = _last_line(messages)
        except subprocess.TimeoutExpired:
            said = "it took too long"
        finally:
            process.kill()
            process.wait()
    written = os.fstat(output).st_size
    if written == size and process.returncode == 0:
        return
    room = os.fstatvfs(output)
    if written < size and room.f_bavail * room.f_frsize < size - written:
        raise FileError("the disk is full; free some space and run again")
    raise DataDamaged(f"{PROGRAM} gave {written} of {size} bytes: {said or 'it says nothing'}")


def _by_descriptor(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


def _memory(name: str, content: bytes = b"") -> int:
    """A nameless file in memory, at its begin."""
    try:
        descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    except (AttributeError, OSError) as error:
        raise HostError(
            "this host has no memfd_create (Linux), without which a key would be written to a disk"
        ) from error
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


@contextlib.contextmanager
def _messages() -> Iterator[int]:
    descriptor = _memory("messages")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _last_line(messages: int) -> str:
    """The last thing that the program said, as far as it can be shown."""
    end = os.fstat(messages).st_size
    text = os.pread(messages, 4096, max(0, end - 4096)).decode("utf-8", "replace").replace(_PROMPT, "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "".join(letter if letter.isprintable() else "?" for letter in lines[-1][:200]) if lines else ""


def _limit(process: int, size: int) -> None:
    limits = (
        (resource.RLIMIT_FSIZE, max(size + 512, _MOST_MESSAGES)),
        (resource.RLIMIT_AS, _MOST_MEMORY),
        (resource.RLIMIT_CORE, 0),
    )
    for kind, most in limits:
        # A process that has ended already is told apart by what it wrote.
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process, kind, (most, most))
