"""Starts, drives and ends everything that an end-to-end test needs: the service, agents, printers' software, clients."""
