# shellcheck shell=bash
# Run on a host: judges its token with pkcs11-tool, and opens what encrypt.sh printed; or says what is wrong. The PIN is in the
# variable PIN, the archive on the standard input.
#   bash -c "$(cat judge.sh)" judge LIBRARY "LABEL=USAGE,ACCESS..." <input
set -euo pipefail
token=(pkcs11-tool --module "$1" --token-label ops --login --pin env:PIN)
expected="$2"
kept="$(mktemp -d)"
trap 'rm -r "$kept"' EXIT
cd "$kept"
base64 -d | tar -x

fail() { printf '%s\n' "$*" >&2; exit 1; }
must_be() { [ "$2" = "$3" ] || fail "$1 is '$2' and not '$3'"; }

# LABEL=USAGE of every private key, in the order of their labels.
found="$("${token[@]}" --list-objects --type privkey | awk '
    /^ *label:/ { label = $2 } /^ *Usage:/ { $1 = ""; gsub(/ /, ""); usage = $0 }
    /^ *Access:/ { extractable = /never extractable/ ? "inside" : /extractable/ ? "wrappable" : "inside"
                   print label "=" usage "," (/sensitive/ ? extractable : "READABLE") }' | sort | xargs)"
must_be "what the token has" "$found" "$expected"

# pkcs11-tool takes a key by its ID only, whatever label it is given.
id_of() {
    "${token[@]}" --list-objects --type privkey | awk -v "name=$1" '/^ *label:/ { label = $2 } /^ *ID:/ && label == name { print $2 }'
}

[[ "$expected" == *mail=* ]] || exit 0
for name in mail old; do
    key=(--id "$(id_of "$name")")
    "${token[@]}" --decrypt "${key[@]}" --mechanism RSA-PKCS --input-file "$name.bin" --output-file opened 2>said ||
        fail "$name opens nothing: $(cat said)"
    printf 'Encrypted to %s before the loss.' "$name" | cmp - opened || fail "$name opens to something else"
    # The token itself refuses another use.
    if "${token[@]}" --sign "${key[@]}" --mechanism RSA-PKCS --input-file opened --output-file signed 2>said
    then fail "the token signs with $name"; fi
    grep -q CKR_KEY_FUNCTION_NOT_PERMITTED said || fail "it was not the token that refused: $(cat said)"
done
"${token[@]}" --derive --id "$(id_of talk)" --mechanism ECDH1-DERIVE --input-file peer.der --output-file agreed 2>said ||
    fail "talk agrees on nothing: $(cat said)"
cmp agreed talk.secret
