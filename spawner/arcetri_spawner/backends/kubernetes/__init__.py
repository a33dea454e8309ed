"""Kubernetes: sessions as pods that policy shapes, and troubles told in plain words.

Everything here but what talks to the API server is pure and works on the API's JSON.
"""
