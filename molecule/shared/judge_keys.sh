# shellcheck shell=bash
# Judges private keys on their host with other tools than ours, and prints their key IDs; or says what is wrong.
#   bash -c "$(cat judge_keys.sh)" judge [certtool] <keys
# Each line of the standard input is PATH|ALGORITHM|USAGE|MODE|OWNER|GROUP|PASSPHRASE. Without a passphrase the key must be
# in clear, with one it must be encrypted.
set -euo pipefail
gnutls="${1:-}"

fail() { printf '%s: %s\n' "$path" "$*" >&2; exit 1; }
must_be() { [ "$2" = "$3" ] || fail "$1 is '$2' and not '$3'"; }
pkey() { openssl pkey -in "$path" -passin fd:3 "$@" 3<<<"$passphrase"; }

judge() {
    must_be "its kind" "$(stat -c %F "$path")" "regular file"
    must_be "its mode" "$(stat -c 0%a "$path")" "$mode"
    must_be "its owner" "$(stat -c %U "$path")" "$owner"
    must_be "its group" "$(stat -c %G "$path")" "$group"

    must_be "the check" "$(pkey -check -noout)" "Key is valid"
    text="$(pkey -text_pub -noout)"
    case "$algorithm" in
        rsa-*) expected="Public-Key: (${algorithm#rsa-} bit)" ;;
        ec-p256) expected="NIST CURVE: P-256" ;;
        ec-p384) expected="NIST CURVE: P-384" ;;
        ec-p521) expected="NIST CURVE: P-521" ;;
        *) expected="${algorithm^^} Public-Key:" ;;
    esac
    [[ "$text" == *"$expected"* ]] || fail "OpenSSL does not say '$expected': $text"

    # What of the key's structure stands in the file in clear.
    structure="$(openssl asn1parse -in "$path" -dump)"
    if [ -n "$passphrase" ]; then
        must_be "its first line" "$(head -n 1 "$path")" "-----BEGIN ENCRYPTED PRIVATE KEY-----"
        for part in PBES2 PBKDF2 hmacWithSHA256 aes-256-cbc :0927C0; do
            [[ "$structure" == *"$part"* ]] || fail "its encryption lacks $part"
        done
        if openssl pkey -in "$path" -noout -passin fd:3 3<<<"no $passphrase" 2>/dev/null; then
            fail "it opens with another passphrase"
        fi
    else
        must_be "its first line" "$(head -n 1 "$path")" "-----BEGIN PRIVATE KEY-----"
        case "$usage" in # the BIT STRING of X.509's keyUsage: unused bits, then the bits
            signature) bits="06 c0" ;;
            certificate_signing) bits="01 06" ;;
            authentication) bits="07 80" ;;
            key_transport) bits="04 30" ;;
            key_agreement) bits="03 08" ;;
            *) fail "unknown usage $usage" ;;
        esac
        found="$(grep -A 3 ':X509v3 Key Usage' <<<"$structure" | grep -A 1 'BIT STRING' | tail -n 1)" || true
        [[ "$found" == *"0000 - $bits "* ]] || fail "its usage attribute is not '$bits': $structure"
    fi

    # OpenSSH reads RSA and NIST curves in PKCS#8, and must see the same public key. From a pipe it does not mind a group.
    if [ -z "$passphrase" ] && [[ "$algorithm" =~ ^(rsa|ec)- ]]; then
        # shellcheck disable=SC2002
        must_be "OpenSSH's public key" \
            "$(cat "$path" | ssh-keygen -y -f /proc/self/fd/0 | ssh-keygen -e -m PKCS8 -f /proc/self/fd/0)" "$(pkey -pubout)"
    fi

    key_id="$(pkey -pubout -outform DER | sha256sum | cut -d ' ' -f 1)"
    if [ -n "$gnutls" ]; then
        text="$("$gnutls" --key-info --ask-pass --infile "$path" <<<"$passphrase" 2>&1)" || fail "GnuTLS: $text"
        [[ "$text" == *"sha256:$key_id"* ]] || fail "GnuTLS sees another key: $text"
    fi
    printf '%s\n' "$key_id"
}

while IFS='|' read -r path algorithm usage mode owner group passphrase; do
    judge </dev/null
done
