"""Figures of speed, memory and size, each beside a reference measured in the same run."""
