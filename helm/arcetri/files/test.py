"""What `helm test` runs in the cluster: every part answers, also through the proxy."""

import json
import sys
import time
import urllib.error
import urllib.request

CHECKS = json.loads(sys.argv[1])
# Until the cluster's network knows a new pod, it may refuse what it will allow.
DEADLINE = time.monotonic() + 30


def status(url):
    """The HTTP status of an address and what it says of a fault, or why there is none."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
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
sys.exit(failed)
