"""The provisioner: a small service that makes homes and group folders on a cluster's claims.

``contract`` is what is said between the hub and it, ``work`` what it does, ``app`` and ``cli`` how
it is run, ``client`` the hub's side. It needs neither JupyterHub nor a Kubernetes client.
"""
