#!/usr/bin/env python3
"""Sign for imagekit with a PKCS#11 token: sign-with-pkcs11.py MODULE TOKEN LABEL

The PIN is asked for at the terminal, or taken from the environment variable PKCS11_PIN.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

module, token, label = sys.argv[1:]
request = json.loads(sys.stdin.readline())
pin = ["--pin", "env:PKCS11_PIN"] if "PKCS11_PIN" in os.environ else []
with tempfile.TemporaryDirectory() as folder, Path(os.devnull if pin else "/dev/tty").open() as terminal:
    source, target = Path(folder, "digest_info"), Path(folder, "signature")
    source.write_bytes(base64.b64decode(request["digest_info"]))
    done = subprocess.run(["pkcs11-tool", "--module", module, "--token-label", token, "--login", *pin, "--sign",
                           "--mechanism", "RSA-PKCS", "--label", label, "--input-file", source,
                           "--output-file", target],
                          stdin=terminal, stdout=sys.stderr, check=False)
    if done.returncode:
        print(json.dumps({"error": f"pkcs11-tool ended with {done.returncode}"}))
        sys.exit(1)
    print(json.dumps({"signature": base64.b64encode(target.read_bytes()).decode()}))
