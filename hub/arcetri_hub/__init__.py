"""What a person meets: login, pages, the ``arcetri`` command, and the assembled JupyterHub."""
