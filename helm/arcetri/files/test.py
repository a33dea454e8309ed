"""What `helm test` runs in the cluster: every part answers, also through the proxy."""

import json
import sys
import time
import urllib.error
import urllib.request

CHECKS = json.loads(sys.argv[1])
DOUBTS = {}
# Until the cluster's network knows a new pod, it may refuse what it will allow.
DEADLINE = time.monotonic() + 30


def doubts(text):
    """What a part would have looked at, though it is well."""
    try:
        said = json.loads(text)
    except ValueError:
        return []
    return said.get("doubts", []) if isinstance(said, dict) else []


def status(url):
    """The HTTP status of an address and what it says of a fault, or why there is none."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            DOUBTS[url] = doubts(answer.read(100_000))
            return answer.status, ""
    except urllib.error.HTTPError as error:
        return error.code, error.read(500).decode(errors="replace")
    except OSError as error:
        return None, f"no answer: {getattr(error, 'reason', error)}"


failed = False
for what, url, wanted in CHECKS:
    while (found := status(url))[0] != wanted and time.monotonic() < DEADLINE:
        time.sleep(1)
    failed |= found[0] != wanted
    print("FAIL" if found[0] != wanted else "ok  ", what, url, *filter(None, found))
    for said in DOUBTS.get(url, []):
        print("WARN", what, said)
sys.exit(failed)
