# Copyright: keyops.lifecycle contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two PKCS#11 functions that python-pkcs11 does not offer as they are needed, called on the library itself.

- ``C_InitToken``, which makes a token.
- ``C_Initialize`` with arguments: NSS's softokn wants its parameters in a field that only its own structure has.
"""

from __future__ import annotations

import ctypes
from typing import Any

#: Their places in CK_FUNCTION_LIST (PKCS#11 section 5.2, pkcs11f.h).
_INITIALIZE, _INIT_TOKEN = 0, 9
_OS_LOCKING = 2  # CKF_OS_LOCKING_OK


class _FunctionList(ctypes.Structure):
    _fields_ = (("version", ctypes.c_ubyte * 2), ("functions", ctypes.c_void_p * (_INIT_TOKEN + 1)))


class _NssArguments(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS as NSS has it (nss/lib/util/pkcs11t.h)."""

    _fields_ = (
        ("mutexes", ctypes.c_void_p * 4),
        ("flags", ctypes.c_ulong),
        ("parameters", ctypes.c_char_p),
        ("reserved", ctypes.c_void_p),
    )


def initialize_nss(path: str, parameters: str) -> int:
    """Start NSS's softokn; returns the PKCS#11 return value, 0 for success."""
    arguments = _NssArguments(flags=_OS_LOCKING, parameters=parameters.encode())
    return _call(path, _INITIALIZE, ctypes.byref(arguments))


def init_token(path: str, slot_id: int, security_officer_pin: str, label: str) -> int:
    """Initialise the token in a slot: everything on it is gone; returns the PKCS#11 return value, 0 for success.

    The library must have been started before by this process.
    """
    pin = security_officer_pin.encode()
    padded = label.encode().ljust(32)
    return _call(path, _INIT_TOKEN, ctypes.c_ulong(slot_id), pin, ctypes.c_ulong(len(pin)), padded)


def _call(path: str, number: int, *arguments: Any) -> int:
    listed = ctypes.POINTER(_FunctionList)()
    get = ctypes.CDLL(path).C_GetFunctionList
    get.restype = ctypes.c_ulong
    answer = int(get(ctypes.byref(listed)))
    if answer:
        return answer
    return int(ctypes.CFUNCTYPE(ctypes.c_ulong)(listed.contents.functions[number])(*arguments))
