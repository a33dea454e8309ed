"""Kubernetes: sessions as pods that policy shapes, and troubles told in plain words.

Everything here but what talks to the API server is pure and works on the API's JSON:

- ``shape_pod`` makes the pod of a ``PodPlan`` from what KubeSpawner would create;
- ``Stock`` counts what the nodes have, by an ``Offering`` of the catalog;
- ``pod_trouble``, ``refusal`` and ``cluster_away`` say what is wrong, ``steps_of`` how far a start
  has come, ``exit_of`` how a session ended;
- ``read_marks`` says whose session a pod is.
"""

from arcetri_spawner.backends.kubernetes.inventory import Room, Stock
from arcetri_spawner.backends.kubernetes.manifest import BadManifest, Overruled
from arcetri_spawner.backends.kubernetes.marks import Marks, read_marks
from arcetri_spawner.backends.kubernetes.offering import Offering
from arcetri_spawner.backends.kubernetes.placement import Placement
from arcetri_spawner.backends.kubernetes.plan import Person, PodPlan, Rules
from arcetri_spawner.backends.kubernetes.pod import ShapedPod, shape_pod
from arcetri_spawner.backends.kubernetes.refusals import cluster_away, refusal
from arcetri_spawner.backends.kubernetes.site import Need, Site
from arcetri_spawner.backends.kubernetes.steps import steps_of
from arcetri_spawner.backends.kubernetes.trouble import exit_of, pod_trouble
from arcetri_spawner.backends.kubernetes.words import ClusterTrouble, Trouble

__all__ = [
    "BadManifest",
    "ClusterTrouble",
    "Marks",
    "Need",
    "Offering",
    "Overruled",
    "Person",
    "Placement",
    "PodPlan",
    "Room",
    "Rules",
    "ShapedPod",
    "Site",
    "Stock",
    "Trouble",
    "cluster_away",
    "exit_of",
    "pod_trouble",
    "read_marks",
    "refusal",
    "shape_pod",
    "steps_of",
]
