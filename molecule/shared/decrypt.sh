# shellcheck shell=bash
# Run on a host that has its keys back: opens what encrypt.sh printed.
#   bash -c "$(cat decrypt.sh)" decrypt FOLDER "MESSAGE..." "AGREEMENT..." <input
# The first line of the standard input is the passphrase of the keys that have one, the rest is the archive.
set -euo pipefail
keys="$1" messages="$2" agreements="$3"
kept="$(mktemp -d)"
trap 'rm -r "$kept"' EXIT
cd "$kept"
read -r passphrase
base64 -d | tar -x

fail() { printf '%s\n' "$*" >&2; exit 1; }

for name in $messages; do
    found="$(openssl cms -decrypt -inform DER -in "$name.p7m" -recip "$name.pem" -inkey "$keys/$name.key" \
        -passin fd:3 3<<<"$passphrase")" || fail "$name opens no message"
    [ "$found" = "Encrypted to $name before the loss." ] || fail "$name gives '$found'"
done
for name in $agreements; do
    openssl pkeyutl -derive -inkey "$keys/$name.key" -peerkey "$name.peer" | cmp - "$name.secret" ||
        fail "$name agrees on another secret"
done
