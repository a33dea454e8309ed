"""Allocations on a cluster's node: what the kubelet handed out, joined with whose pods they are.

The kubelet's PodResources says which container holds which device, by the pod's name alone; the API
server says which pod of that name it is, whose session, and from when to when its containers ran.

- ``devices`` reads device ids, ``facts`` reads pods, ``joining`` makes starts and ends of both; all
  three are pure;
- ``kubelet`` asks PodResources, ``watching`` follows the API server's pods, each in its own thread;
- ``record`` keeps what was told, so that after a crash nothing is told twice;
- ``source`` is the agent's ``AllocationSource`` over them.
"""
