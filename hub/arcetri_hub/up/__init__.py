"""``arcetri up``: the whole platform on one machine, from one command.

A supervisor process starts the development IAM, the proxy and the hub, starts them again when
they die, and ends them, and the users' sessions, when it is told to. Sessions are not its
children: they survive it, and the next start adopts them.
"""
