"""Looks at the devices of a node, so that nothing a driver does can hold up the agent."""

from arcetri_accounting.agent.sampler.look import Look, NoSampler, Sampler

__all__ = ["Look", "NoSampler", "Sampler"]
