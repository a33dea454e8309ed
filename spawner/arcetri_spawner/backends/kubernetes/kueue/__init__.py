"""Waiting in Kueue's queues: each request holds one Workload of the platform's own.

``asking`` says what a request's Workload asks for, ``telling`` what a Workload says of a request,
``words`` in which words, ``places`` who is before whom; all of these are pure. ``reserve`` judges
what Kueue gives to CPU-only sessions, ``following`` keeps what the cluster has, and ``queue`` is
``backends.base.Queue`` over it.
"""
