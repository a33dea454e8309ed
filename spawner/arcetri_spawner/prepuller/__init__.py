"""Has the catalog's images on the nodes that may run them, before anybody asks for them.

``wanted`` says which DaemonSets that takes, ``keeper`` keeps the cluster so, ``status`` reads which
node has which image. A node that runs a pod of an image does not throw the image away either.
"""
