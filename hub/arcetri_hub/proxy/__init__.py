"""The proxy of local mode: configurable-http-proxy's route table and API, with streamed traffic.

The Python port of configurable-http-proxy needs no Node.js, but reads a whole answer before it
passes on its first byte, gives up after 20 seconds and serves ten requests at a time: progress
events, downloads and slow kernels' answers do not survive that. ``traffic`` replaces that one part.
"""
