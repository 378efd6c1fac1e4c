"""The rules that assertions are held to; `docs/reference/assertions.md` says where each comes from."""

from __future__ import annotations

from imagekit.rules import Rule


class AssertionRules:
    """Rules of the notation, of all types, and of each type."""

    # the notation
    EMPTY = Rule("assertion-empty", "a file of assertions holds one at least")
    SINGLE = Rule("assertion-single", "where one assertion is expected, the file holds one")
    HEADERS_END = Rule("assertion-headers-end", "a blank line ends the headers within 128 KiB")
    HEADERS_UTF8 = Rule("assertion-headers-utf8", "headers are UTF-8")
    BODY_SIZE = Rule("assertion-body-size", "a body has at most 2 MiB")
    BODY_END = Rule("assertion-body-end", "a blank line follows the bytes that body-length announces")
    BODY_UTF8 = Rule("assertion-body-utf8", "a body is UTF-8")
    SIGNATURE_SIZE = Rule("assertion-signature-size", "a signature has one byte at least and 128 KiB at most")
    SIGNATURE_BASE64 = Rule("assertion-signature-base64", "a signature is base64 as an encoder writes it")
    COLON = Rule("assertion-header-colon", "a colon follows the name of a header")
    NAME = Rule("assertion-header-name", "a header's name is a-z first, then a-z, 0-9 and single inner hyphens")
    REPEATED = Rule("assertion-header-repeated", "a header stands once, a key once in its map")
    SPACE = Rule("assertion-header-space", "one space or the end of the line follows the colon or the dash")
    NESTED = Rule("assertion-header-nested", "an indented text, list or map follows a name that ends its line")
    DEPTH = Rule("assertion-header-depth", "lists and maps are nested at most 64 deep")

    # all types
    TYPE = Rule("assertion-type", "the type is a known one")
    FORMAT = Rule("assertion-format", "the format is one that is supported")
    FORMAT_LEAST = Rule("assertion-format-least", "the format is as high as what is said needs")
    COUNT = Rule("assertion-count", "format, revision and body-length are numbers from 0 on, without leading zeros")
    AUTHORITY = Rule("assertion-authority", "an authority-id stands where the type has one, and nowhere else")
    PRIMARY_KEY = Rule("assertion-primary-key", "a header that names the assertion is a text without slashes")
    SIGN_KEY = Rule("assertion-sign-key", "sign-key-sha3-384 is a digest of 48 bytes in base64url")
    JSON_BODY = Rule("assertion-json-body", "a body of JSON has two spaces of indentation and sorted keys")
    MISSING = Rule("assertion-header-missing", "a header that the type demands is there")
    TEXT = Rule("assertion-header-text", "a text stands where the type has a text")
    LIST = Rule("assertion-header-list", "a list stands where the type has a list")
    MAP = Rule("assertion-header-map", "a map stands where the type has a map")
    FLAG = Rule("assertion-header-flag", "true or false stands where the type has a flag")
    NUMBER = Rule("assertion-header-number", "a number stands where the type has one, within its bounds")
    TIME = Rule("assertion-header-time", "a time is RFC 3339 with a time zone")
    DIGEST = Rule("assertion-header-digest", "a digest has the length of its algorithm")
    ACCOUNT_ID = Rule(
        "assertion-account-id", "an account id is 32 letters and digits, or 2 to 28 of a-z, 0-9 and hyphen")
    SNAP_ID = Rule("assertion-snap-id", "a snap id is 32 letters and digits")
    SNAP_NAME = Rule(
        "assertion-snap-name", "a snap's name is 2 to 40 of a-z, 0-9 and single inner hyphens, with a letter")
    MODEL_NAME = Rule("assertion-model-name", "a model's name is a-z, 0-9 and single inner hyphens")
    SET_NAME = Rule("assertion-set-name", "a validation set's name is a-z, 0-9 and single inner hyphens")
    PROVENANCE = Rule("assertion-provenance", "a provenance is letters, digits and single inner hyphens")
    PRESENCE = Rule("assertion-presence", "a presence is one of the words that the type has")
    TWICE = Rule("assertion-twice", "a list names the same thing once")
    PERIOD = Rule("assertion-period", "a period does not end before it begins")
    PUBLIC_KEY = Rule("assertion-public-key", "a public key is RSA in one packet, and its id is the one that is said")
    SCOPE = Rule("assertion-device-scope", "on-store, on-brand and on-model are lists of such names")
    PATTERN = Rule("assertion-pattern", "a constraint is a map, a pattern, a special word or alternatives of these")

    # single types
    ACCOUNT_VALIDATION = Rule("account-validation", "an account that is signed here has a validation that is known")
    KEY_NAME = Rule("account-key-name", "a key's name is a-z, 0-9 and single inner hyphens, with a letter")
    KEY_CONSTRAINTS = Rule(
        "account-key-constraints", "constraints are a list of maps with headers, the exact type among them")
    SERIES = Rule("assertion-series", "what is signed here is of series 16")
    DECLARATION_ALIAS = Rule(
        "declaration-alias",
        "an alias is letters, digits, dots, hyphens and underscores; its target an app's name")
    DECLARATION_RULE = Rule(
        "declaration-rule", "a rule of an interface says what to allow and deny, by known constraints")
    DECLARATION_REVISION_AUTHORITY = Rule(
        "declaration-revision-authority",
        "a revision authority has an account, provenances and a range of revisions")
    REVISION_INTEGRITY = Rule("revision-integrity", "integrity data is dm-verity of version 1 with sha256")
    REVISION_VERITY_ROOT = Rule("revision-verity-root", "a verity root is 64 lower-case hexadecimal digits")
    DEVELOPER_REVOKED = Rule(
        "developer-revoked", "a developer is revoked by one period alone, which ends when it begins")
    SET_AUTHORITY = Rule("validation-set-authority", "the account of a validation set signs it")
    SET_REVISION = Rule(
        "validation-set-revision",
        "an invalid snap or component has no revision; a snap and its components have one together")
    USER_EMAIL = Rule("system-user-email", "an email is an address, with or without a name before it")
    USER_NAME = Rule(
        "system-user-username", "a user's name is a-z, 0-9, dot, hyphen and underscore, a letter or digit first")
    USER_PASSWORD = Rule(
        "system-user-password", "a password is hashed as crypt(3) does: $6$ or higher, 5000 rounds or more")
    USER_FORCE = Rule("system-user-force-password-change", "only who has a password can be made to change it")
    USER_SERIALS = Rule("system-user-serials", "serials need one model and format 1")
    USER_PRESENCE = Rule("system-user-presence", "user-presence is until-expiration, and needs format 2")
    USER_PERIOD = Rule("system-user-period", "without models a system user lasts one year at most")
    STORE_URL = Rule("store-url", "a store's URL is http or https with a host, without query and fragment")
    PRESEED_LABEL = Rule("preseed-system-label", "a system's label is a-z, 0-9 and single inner hyphens")
    PRESEED_SNAP = Rule(
        "preseed-snap", "a preseeded snap has an id and a revision, or neither; its components follow it")
    SERIAL_REQUEST_KEY = Rule("serial-request-key", "the device key signs the request")
    REPAIR_AUTHORITY = Rule("repair-authority", "the brand signs its repairs")
    REPAIR_SUMMARY = Rule("repair-summary", "a summary is one line")
    REPAIR_MODES = Rule("repair-modes", "modes are run and recover, and go with bases that have them")

    # models
    MODEL_AUTHORITY = Rule("model-authority", "the brand signs its models")
    MODEL_RESERVED = Rule("model-reserved-header", "core, os, class and allowed-modes are not used")
    MODEL_ARCHITECTURE = Rule("model-architecture", "a model that is signed here has a known architecture")
    MODEL_GENERATION = Rule("model-generation", "headers of one generation of models stand without those of the other")
    MODEL_DISTRIBUTION = Rule(
        "model-distribution", "a distribution is an ID of os-release, for classic models with snaps")
    MODEL_GRADE = Rule("model-grade", "a grade is dangerous, signed or secured")
    MODEL_STORAGE = Rule("model-storage-safety", "storage-safety is a known word, and encrypted for grade secured")
    MODEL_SNAP_ID = Rule("model-snap-id", "a snap has an id unless the grade is dangerous")
    MODEL_SNAP_TYPE = Rule("model-snap-type", "a snap's type is a known word, and base for the model's base")
    MODEL_ESSENTIAL = Rule("model-essential", "essential snaps have no modes and no presence: they are always there")
    MODEL_CHANNEL = Rule("model-default-channel", "a default channel is TRACK, TRACK/RISK or TRACK/RISK/BRANCH")
    MODEL_TRACK = Rule("model-track", "a gadget or kernel before UC20 is NAME or NAME=TRACK")
    MODEL_MODES = Rule("model-modes", "a mode is a-z and hyphens, two at least")
    MODEL_CLASSIC_SNAP = Rule("model-classic-snap", "a classic snap is an app in run mode of a classic model")
    MODEL_COMPONENT = Rule("model-component", "a component has a presence and modes among its snap's")
    MODEL_ONE_EACH = Rule("model-one-each", "a model has one snapd, kernel and gadget at most")
    MODEL_NEEDS = Rule("model-needs", "a core model has a gadget and a kernel; a kernel needs a gadget")
    MODEL_BASE = Rule("model-base", "the base is in snaps unless it is well known or the grade dangerous")
    MODEL_SETS = Rule("model-validation-sets", "a validation set is enforced or preferred, each once")
    MODEL_SIGNERS = Rule("model-signers", "who may sign for the model are account ids; for system users also *")

    # drafts: what people write to be signed
    DRAFT_MAP = Rule("draft-map", "a draft is a map of headers")
    DRAFT_SCALAR = Rule("draft-scalar", "what YAML would read differently than people do is in quotes")
    DRAFT_SET = Rule("draft-set-by-signing", "what signing sets is left out: body-length and sign-key-sha3-384")
    DRAFT_BODY = Rule("draft-body", "a body is a text")
    DRAFT_AUTHORITY = Rule("draft-authority", "the account whose key signs is the one that speaks")
    DRAFT_TYPO = Rule("draft-header-unknown", "a header is not nearly one that the type knows")
