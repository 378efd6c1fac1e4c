#!/bin/sh
# Makes the files of this folder anew, with GnuPG: a key as `snap create-key test-only` makes it, exported in each form,
# a key of elliptic curves, and a signature made in the way in which snapd has GnuPG make them.
set -eu
cd "$(dirname "$0")"
GNUPGHOME=$(mktemp -d)
export GNUPGHOME
trap 'gpgconf --kill all; rm -rf "$GNUPGHOME"' EXIT
run() { gpg --quiet --batch --yes --no-auto-check-trustdb --pinentry-mode loopback "$@"; }

run --gen-key <<END
Key-Type: RSA
Key-Length: 4096
Name-Real: test-only
Creation-Date: seconds=1451606400
Preferences: SHA512
%no-protection
END
run --armor --export-secret-keys --output TEST-ONLY-plain.asc test-only
run --armor --export --output TEST-ONLY-public.asc test-only
printf 'type: model\nmodel: signed-by-gnupg' > content
run --personal-digest-preferences SHA512 --default-key test-only --detach-sign --output content.sig content

printf 'test only' > "$GNUPGHOME/passphrase"
run --passphrase-file "$GNUPGHOME/passphrase" --change-passphrase test-only
run --passphrase-file "$GNUPGHOME/passphrase" --export-secret-keys --output TEST-ONLY-protected.gpg test-only

run --passphrase '' --quick-generate-key curve ed25519 sign never
run --armor --export-secret-keys --output TEST-ONLY-curve.asc curve
