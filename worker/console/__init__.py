"""The console: pages and JSON about studies, queues and users, one blueprint an area (see ``app``).

It reads the records and the stored results, and acts through the functions that the command line uses. It never loads
the network engine.
"""
