"""What a session reaches on the network, beside what it should. Run it in a session's terminal.

python3 reach.py RELEASE NAMESPACE [ADDRESS:PORT ...]

ADDRESS:PORT are places of your own that must be closed, such as another session's pod, your nodes'
kubelets (port 10250) and your storage's servers. The status is 1 where something is otherwise.
"""

import socket
import sys


def connects(host, port):
    """Whether anything accepts a connection there; None when the name is unknown."""
    try:
        socket.create_connection((host, port), timeout=3).close()
    except socket.gaierror:
        return None
    except OSError:
        return False
    return True


release, namespace = sys.argv[1:3]
wanted = {
    (f"{release}-hub.{namespace}.svc", 8081): True,
    (f"{release}-proxy.{namespace}.svc", 8000): False,
    (f"{release}-proxy-api.{namespace}.svc", 8001): False,
    (f"{release}-ledger.{namespace}.svc", 8010): False,
    (f"{release}-provisioner.{release}-storage.svc", 8020): False,
    ("kubernetes.default.svc", 443): False,
    ("169.254.169.254", 80): False,
}
for place in sys.argv[3:]:
    host, _, port = place.rpartition(":")
    wanted[host.strip("[]"), int(port)] = False
wrong = 0
for (host, port), expected in wanted.items():
    found = connects(host, port)
    said = {True: "open", False: "closed", None: "no such name"}[found]
    right = found is expected
    wrong += not right
    print("ok   " if right else "WRONG", f"{host}:{port}", said)
sys.exit(wrong > 0)
