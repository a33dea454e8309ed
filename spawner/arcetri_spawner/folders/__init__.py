"""Folders of homes and groups: whose they are, and how they are made without being led astray.

Used by sessions of one machine and by the provisioner of a cluster.
"""
