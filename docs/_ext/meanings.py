"""What keys mean whose code says nothing beyond their name; a description in the code wins."""

from __future__ import annotations

MEANINGS = {
    "profiles.yaml version": "The version of this format.",
    "ids users": "From which people's numeric ids, and those of their private groups, are taken.",
    "ids groups": "From which the numeric ids of IAM groups are taken.",
    "limits sessions": "Sessions that run or start.",
    "limits requests": "Sessions that run, start or wait.",
    "everyone flavors": "Flavours; charged to `everyone`, not to a group.",
    "everyone volumes": "Volumes that every session sees.",
    "flavors.NAME title": "What users read.",
    "flavors.NAME description": "A sentence or two on its card.",
    "sizes.NAME title": "What users read; absent means its name.",
    "sizes.NAME cpu": "Cores.",
    "sizes.NAME memory": "Memory.",
    "sizes.NAME shm": "Shared memory, which data loaders of several processes need.",
    "environments.NAME title": "What users read.",
    "environments.NAME description": "A sentence or two about the software.",
    "volumes.NAME title": "What users read; absent means its name.",
    "volumes.NAME mode": "Read and write, or read only.",
    "volumes.NAME quota": "How much one sub-folder may hold.",
    "groups.PATH title": "What users read; absent means its path.",
    "groups.PATH volumes": "Volumes that members' sessions see, besides everyone's.",
    "settings.json log_level": "How much JupyterHub logs.",
    "iam client_id": "The client registered at the provider for this platform.",
    "iam scopes": "What is asked for at a log-in.",
}
