"""How long a request will probably wait."""
