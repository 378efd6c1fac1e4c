"""OpenPGP (RFC 4880): packets, armour, and the secret keys in an export of GnuPG's.

`packets` reads and writes the packets themselves; `imagekit.keys` builds on it. `armor` takes off the ASCII armour,
`secretkeys` finds the keys in an export and opens one.
"""
