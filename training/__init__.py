"""The research side: phantoms, data sets, losses, fitting and export; never imported by the worker's processes."""
