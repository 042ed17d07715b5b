# shellcheck shell=bash
# Run on the host after its keys were rotated: judges them with openssl, and prints, for the key that decrypts and for the
# key that signs, the key IDs of the old and the new one, as the service was told.
#   bash -c "$(cat judge.sh)" judge FOLDER <input
# The standard input is the CA's certificate, an empty line, and what begin.yml kept.
set -euo pipefail
keys="$1"
kept="$(mktemp -d)"
trap 'rm -r "$kept"' EXIT
while read -r line && [ -n "$line" ]; do printf '%s\n' "$line" >>"$kept/ca.pem"; done
base64 -d | tar -x -C "$kept"

fail() { printf '%s\n' "$*" >&2; exit 1; }
must_be() { [ "$2" = "$3" ] || fail "$1 is '$2' and not '$3'"; }
digest() { openssl pkey -pubin -outform DER | sha256sum | cut -d ' ' -f 1; }
of_certificate() { openssl x509 -in "$1" -noout -pubkey | digest; }
of_key() { openssl pkey -in "$1" -passin pass: -pubout 2>/dev/null </dev/null | digest 2>/dev/null; }

old_smime="$(of_certificate "$kept/smime.pem")"
old_seal="$(of_certificate "$kept/seal.pem")"
smime="$keys/smime.key" was="${old_smime:0:16}"

# The old key that decrypts stays with its certificate and request; of the one that signs its certificate only.
must_be "the folder" "$(find "$keys" -mindepth 1 -printf '%f\n' | LC_ALL=C sort | tr '\n' ' ')" \
    "seal.csr seal.key seal.pem seal.pem.${old_seal:0:16} smime.csr smime.csr.$was smime.key smime.key.$was smime.pem smime.pem.$was "
while IFS= read -r -d '' path; do
    if [ "$(of_key "$path")" = "$old_seal" ]; then fail "$path is the old signing key"; fi
done < <(find "$HOME" /tmp /var/tmp /dev/shm -type f -readable -print0 2>/dev/null)

for name in smime seal; do
    openssl verify -CAfile "$kept/ca.pem" "$keys/$name.pem" >/dev/null || fail "$name.pem is not of the CA"
    must_be "the key of $name.pem" "$(of_certificate "$keys/$name.pem")" "$(of_key "$keys/$name.key")"
    must_be "the mode of $name.key" "$(stat -c %a "$keys/$name.key")" 600
done

# What was encrypted to the old certificate is still read with the old key, and with no other.
must_be "the mode of the old key" "$(stat -c %a "$smime.$was")" 600
cmp "$kept/smime.pem" "$keys/smime.pem.$was"
decrypt() { openssl cms -decrypt -inform DER -in "$kept/before.p7m" -recip "$kept/smime.pem" -inkey "$1"; }
must_be "the message" "$(decrypt "$smime.$was")" "Encrypted before the rotation."
if [ "$(decrypt "$smime" 2>/dev/null)" = "Encrypted before the rotation." ]; then fail "the new key is the old one"; fi

printf '%s %s %s\n' "$old_smime" "$(of_key "$smime")" "$smime" "$old_seal" "$(of_key "$keys/seal.key")" "$keys/seal.key"
