"""What `helm test` runs in the cluster: every part answers, also through the proxy."""

import json
import sys
import urllib.error
import urllib.request

CHECKS = json.loads(sys.argv[1])


def status(url):
    """The HTTP status of an address, or why there is none."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        return f"no answer: {getattr(error, 'reason', error)}"


failed = False
for what, url, wanted in CHECKS:
    found = status(url)
    failed |= found != wanted
    print("ok  " if found == wanted else "FAIL", what, url, found)
sys.exit(failed)
