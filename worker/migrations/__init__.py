"""The schema's history, applied by ``worker.database.migrate``; one module a step under ``versions``."""
