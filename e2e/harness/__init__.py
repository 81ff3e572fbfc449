"""Starts, drives and ends what an end-to-end test needs: the service, agents, printers' software, clients."""
