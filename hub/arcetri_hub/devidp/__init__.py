"""The development IAM: an OpenID provider that behaves at the wire like INDIGO IAM 1.12.

It is for demonstrations and tests on one machine. It binds to loopback addresses only, answers
only requests whose ``Host`` is a loopback name, and sends people back to loopback addresses only.
Its users have published passwords, and whoever reaches its port may change them all: that is its
purpose.

Where it is stricter than the real one, so that a careless client is found here: PKCE with S256 is
demanded, a redirect address must match to the letter, and a token in a query string is refused.
"""
